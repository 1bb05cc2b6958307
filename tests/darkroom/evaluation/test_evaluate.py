"""evaluate and predict: one forward pass for both, calibrated predictions, and memory that does not grow with images and classes."""

import csv
import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from publishing import Best
from torch import Tensor, nn

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.base.params import HardwareParams, Params
from darkroom.cli.predict import table_lines
from darkroom.evaluation.evaluate import evaluate_images, evaluate_model, write_results
from darkroom.evaluation.written_predictions import Images
from darkroom.inference.predictor import Predictor
from darkroom.metrics.calibration import at_temperature
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.predictions_file import read_predictions
from darkroom.metrics.scores import score_of
from darkroom.models.model_json import Card, data_hashes, make_card
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import Published, save_model
from darkroom.prediction.inputs import predict_inputs
from darkroom.prediction.predictions import EMBEDDINGS, Predictions, write_all
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"train.model.kwargs": {"width": 4, "stages": 1}, "hardware.accelerator": "cpu"}


class Workspace:
    """A folder with a published model of the digits, and what evaluate made of it."""

    def __init__(self, folder: Path, digits: Any, make_params: Callable[..., Params]):
        self.digits, self._make_params = digits, make_params
        self.models, self.parquet = folder / "models", folder / "predictions.parquet"
        params = self.params({})
        plan = make_plan(params, digits.pack, digits.split.rows["train"])
        hashes = data_hashes(digits.raw, digits.split)
        card = make_card(params, plan.preprocessing, digits.split.classes, hashes, Best(), about=plan.about)
        torch.manual_seed(0)
        save_model(self.models, plan.classifier.network.state_dict(), card)

    def params(self, changes: dict[str, Any]) -> Params:
        place = str(self.digits.raw.parent / "split")
        usual = {"predict.input": place, "predict.calibrated": True, "predict.threshold": None}
        return self._make_params(SMALL | usual | changes)

    def evaluate(self, changes: dict[str, Any]) -> Any:
        params = self.params(changes)
        found = evaluate_model(self.models, params, self.digits.pack, self.digits.split, predictions=self.parquet)
        files.write_sealed_json(self.models / "calibration.json", found.calibration)
        return found

    def predict(self, changes: dict[str, Any], embeddings: Path | None = None) -> Predictions:
        params = self.params(changes)
        return predict_inputs([params.predict.input], self.models, params, embeddings)


@pytest.fixture
def workspace(make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    made = Workspace(tmp_path, digits, make_params)
    places = {"RAW": digits.raw, "SPLIT": digits.raw.parent / "split", "MODELS": made.models, "EVALUATED": made.parquet}
    for key, value in places.items():
        monkeypatch.setattr(paths, key, value)
    return made


def test_predict_takes_over_what_evaluate_computed(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And writes the same bytes as with the network."""
    workspace.evaluate({})
    for name in ("network", "evaluated"):
        with monkeypatch.context() as patched:
            if name == "network":
                patched.setattr("darkroom.prediction.evaluated.evaluated_test_split", lambda *_: None)
            else:
                patched.setattr(Predictor, "load", lambda *_: pytest.fail("the network was built"))
            (tmp_path / name).mkdir()
            write_all(tmp_path / name, workspace.predict({}), top_k=3)
    names = sorted(path.name for path in (tmp_path / "network").iterdir())
    assert len(names) == 4
    assert all((tmp_path / "network" / name).read_bytes() == (tmp_path / "evaluated" / name).read_bytes() for name in names)
    # With embeddings the network runs, and all else stays as it is.
    write_all(tmp_path / "embeddings", workspace.predict({}, tmp_path / "embeddings" / EMBEDDINGS), top_k=3)
    assert all((tmp_path / "network" / name).read_bytes() == (tmp_path / "embeddings" / name).read_bytes() for name in names)
    table = pq.read_table(tmp_path / "embeddings" / EMBEDDINGS)
    assert table.column_names == ["path", "actual", "class", "probability", "embedding"]
    assert table.drop_columns("embedding") == pq.read_table(
        tmp_path / "network" / "predictions.parquet", columns=table.column_names[:4]
    )


@pytest.mark.parametrize(
    "changes",
    [{"predict.batch_size": 7}, {"predict.tta": "flip"}, {"predict.backend": "openvino"}, {"predict.embeddings": True}],
    ids=lambda each: next(iter(each)),
)
def test_with_other_settings_the_network_runs(
    workspace: Workspace, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.evaluate({})

    def load(*_: Any) -> Any:
        raise RuntimeError("the network is built")

    monkeypatch.setattr(Predictor, "load", load)
    workspace.predict({})
    with pytest.raises(RuntimeError, match="the network is built"):
        workspace.predict(changes)


def test_predictions_are_calibrated_unless_they_are_not_to_be(workspace: Workspace) -> None:
    found = workspace.evaluate({})
    temperature = found.calibrator.calibration.temperature
    assert temperature != 1
    after, before = workspace.predict({}), workspace.predict({"predict.calibrated": False})
    kept = read_predictions(workspace.parquet)["test"].probabilities.astype(np.float64)
    np.testing.assert_array_equal(before.probabilities, kept)
    np.testing.assert_array_equal(after.probabilities, at_temperature(kept, temperature, multilabel=False))
    assert after.backend == {"backend": "torch", "precision": "32-true", "temperature": temperature}
    assert before.backend == {"backend": "torch", "precision": "32-true"}
    np.testing.assert_array_equal(after.probabilities.argmax(axis=1), before.probabilities.argmax(axis=1))


def test_a_model_without_calibration_or_with_another_s_predicts_as_before(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.evaluate({})
    before = workspace.predict({"predict.calibrated": False}).probabilities
    path = workspace.models / "calibration.json"
    content = files.read_sealed_json(path)
    files.write_sealed_json(path, content | {"weights_sha256": "0" * 64})
    capsys.readouterr()
    np.testing.assert_array_equal(workspace.predict({}).probabilities, before)
    assert "calibration.json: belongs to another model, so probabilities are not calibrated" in capsys.readouterr().err
    path.unlink()
    np.testing.assert_array_equal(workspace.predict({}).probabilities, before)
    assert "has no calibration.json, so its probabilities are not calibrated" in capsys.readouterr().err
    workspace.predict({"predict.calibrated": False})
    assert capsys.readouterr().err == ""
    path.write_bytes(b"{}")
    with pytest.raises(InputError, match=r"calibration\.json: is damaged"):
        workspace.predict({})


def test_a_model_that_abstains_says_unknown(workspace: Workspace, tmp_path: Path) -> None:
    found = workspace.evaluate({"evaluate.abstain_precision": 0.15})
    threshold = found.calibrator.calibration.abstain
    made = workspace.predict({})
    assert made.abstained is not None
    assert 0 < made.abstained.sum() < len(made.abstained)
    np.testing.assert_array_equal(made.abstained, made.probabilities.max(axis=1) < threshold)
    # Whether it abstains goes by calibrated probabilities, whatever is written.
    np.testing.assert_array_equal(workspace.predict({"predict.calibrated": False}).abstained, made.abstained)
    write_all(tmp_path, made, top_k=2)
    header, *rows = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header.startswith("path,actual,class,most_probable,probability,class_2,")
    assert sum(row.split(",")[2] == "unknown" for row in rows) == made.abstained.sum()
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [line["class"] == "unknown" for line in lines] == made.abstained.tolist()
    assert all(line["top"][0]["class"] in made.classes for line in lines)
    metrics = found.intervals()["test"]
    assert metrics["coverage"]["value"] == pytest.approx(1 - made.abstained.mean())
    right = np.array(made.actual) == np.array(made.classes)[made.probabilities.argmax(axis=1)]
    assert metrics["selective_accuracy"]["value"] == pytest.approx(right[~made.abstained].mean())


UNSURE = {"evaluate.false_alarms": 0.1, "evaluate.conformal": 0.9}


def test_both_reasons_of_unknown_and_sets_are_in_every_output(workspace: Workspace, tmp_path: Path) -> None:
    found = workspace.evaluate(UNSURE | {"evaluate.abstain_precision": 0.15})
    calibration = found.calibrator.calibration
    assert 0.05 < found.metrics["val"]["false_alarms"] <= 0.1
    made = workspace.predict({})
    assert made.foreign is not None and made.abstained is not None and made.sets is not None  # noqa: PT018
    # evaluate measured the same images.
    assert (made.foreign > 1).mean() == pytest.approx(found.metrics["test"]["false_alarms"])
    np.testing.assert_array_equal(made.sets, made.probabilities >= calibration.conformal.probability)
    assert made.sets.sum(axis=1).mean() == pytest.approx(found.metrics["test"]["conformal_size"])
    both = (made.foreign > 1) & made.abstained
    assert 0 < both.sum() < made.abstained.sum()
    assert (made.foreign > 1).sum() > both.sum()
    write_all(tmp_path, made, top_k=2)
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    table = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    for number, (row, line, cells) in enumerate(zip(rows, lines, table, strict=True)):
        why = ["foreign"] * bool(made.foreign[number] > 1) + ["uncertain"] * bool(made.abstained[number])
        assert line["why"] == cells["why"] == why
        assert row["why"] == "; ".join(why)
        assert (row["class"] == "unknown") == (line["class"] == "unknown") == (cells["class"] == "unknown") == bool(why)
        assert line["foreign"] == cells["foreign"] == made.foreign[number]
        assert row["foreign"] == f"{made.foreign[number]:.4f}"
        assert line["set"] == cells["set"] == made.set_of(number)
        assert set(line["set"]) == {made.classes[label] for label in np.flatnonzero(made.sets[number])}
        assert row["set"] == "; ".join(line["set"])
        assert row["most_probable"] == line["top"][0]["class"] == (line["set"] or [row["most_probable"]])[0]
    # On the terminal, too.
    header, *shown = (re.split(" {2,}", text.strip()) for text in table_lines(made, 1))
    assert header[-2:] == ["foreign", "set"]
    foreign = int(np.flatnonzero(made.foreign[:20] > 1)[0])
    assert shown[foreign][2].startswith("unknown (foreign): ")
    uncertain = int(np.flatnonzero(made.abstained[:20] & ~(made.foreign[:20] > 1))[0])
    assert shown[uncertain][2].startswith("unknown: ")


def test_what_is_not_known_goes_by_the_network_as_it_is_whatever_else_is_set(workspace: Workspace) -> None:
    """Distances are those of the image itself, sets those of calibrated probabilities."""
    workspace.evaluate(UNSURE)
    made = workspace.predict({})
    for changes in (
        {"predict.calibrated": False},
        {"predict.tta": "flip"},
        {"predict.backend": "openvino"},
        {"predict.batch_size": 7},
    ):
        again = workspace.predict(changes)
        np.testing.assert_allclose(again.foreign, made.foreign, rtol=1e-4)
        if "predict.calibrated" in changes:
            np.testing.assert_array_equal(again.sets, made.sets)
    again = workspace.predict({}, workspace.models / EMBEDDINGS)
    np.testing.assert_array_equal(again.foreign, made.foreign)
    assert pq.read_table(workspace.models / EMBEDDINGS).num_rows == len(again.paths)
    assert made.embeddings is None


def test_intervals_say_how_certain_they_are(workspace: Workspace) -> None:
    found = workspace.evaluate(UNSURE)
    content = found.intervals()
    for split in ("val", "test"):
        for name in ("false_alarms", "conformal_coverage", "conformal_size"):
            each = content[split][name]
            assert each["value"] == pytest.approx(found.metrics[split][name])
            assert each["low"] < each["value"] < each["high"]
    assert 0.8 < found.metrics["test"]["conformal_coverage"] <= 1


def test_another_model_s_file_and_a_damaged_one_are_not_used(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.evaluate(UNSURE)
    path = workspace.models / "calibration.json"
    content = files.read_sealed_json(path)
    files.write_sealed_json(path, content | {"weights_sha256": "0" * 64})
    made = workspace.predict({})
    assert (made.foreign, made.sets) == (None, None)
    assert "belongs to another model" in capsys.readouterr().err
    files.write_sealed_json(path, content)
    text = path.read_text()
    changed = text.replace('"limit": ', '"limit": 1')
    assert changed != text
    path.write_text(changed)
    with pytest.raises(InputError, match=r"calibration\.json: is damaged \(its content does not have the SHA-256"):
        workspace.predict({})
    for wrong in ({"foreign": {**content["foreign"], "limit": -1}}, {"conformal": {"coverage": 0.9}}, {"foreign": 3}):
        files.write_sealed_json(path, content | wrong)
        with pytest.raises(InputError, match=r"calibration\.json: is damaged"):
            workspace.predict({})


def test_without_them_evaluate_and_predict_write_what_they_did(workspace: Workspace, tmp_path: Path) -> None:
    found = workspace.evaluate({})
    assert set(found.calibration) == {"format", "weights_sha256", "temperature", "thresholds", "abstain", "fitted_on", "loss"}
    assert not {"false_alarms", "conformal_coverage", "conformal_size"} & set(found.metrics["test"])
    write_all(tmp_path, workspace.predict({}), top_k=1)
    assert (tmp_path / "predictions.csv").read_text().splitlines()[0] == "path,actual,class,probability"


def test_a_threshold_of_several_classes_is_refused_with_and_without_the_network(workspace: Workspace) -> None:
    workspace.evaluate({})
    for changes in ({}, {"predict.batch_size": 7}):
        for threshold in ("fitted", 0.3):
            with pytest.raises(
                InputError, match=rf"predict\.threshold: is {threshold}, but the model predicts the most probable"
            ):
                workspace.predict(changes | {"predict.threshold": threshold})


def test_what_evaluate_writes_is_the_same_bytes_again_and_agrees(workspace: Workspace, tmp_path: Path) -> None:
    for name in ("a", "b"):
        found = workspace.evaluate({"evaluate.batch_size": 256})
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, found, workspace.params({}).evaluate)
        workspace.parquet.rename(tmp_path / name / "predictions.parquet")
    written = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in written)
    content = json.loads((tmp_path / "a" / "intervals.json").read_text())
    again = read_predictions(tmp_path / "a" / "predictions.parquet")
    for name, metrics in found.metrics.items():
        assert all(content[name][key]["value"] == pytest.approx(value) for key, value in metrics.items())
        # From the file alone, without the model.
        each = again[name]
        from_file = score_of(Outcomes.of(each.probabilities.astype(np.float64), each.labels, each.decision))
        assert from_file == pytest.approx(metrics, rel=1e-5)
        np.testing.assert_array_equal(each.predicted, found.predictions[name].predicted)
    assert "loss_calibrated" in content["test"]


class Wide(nn.Module):
    """Computes very many logits from a few pixels."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, num_classes, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, 20:28] @ self.weight


def measure_wide(pack: Any, hardware: HardwareParams, params: Params, num_images: int, num_classes: int, out: Path) -> None:
    """Measure as many images, which repeat, of as many classes."""
    seen = Preprocessing(image_size=8, channels=1, mean=(0.3,), std=(0.2,))
    classes = [str(label) for label in range(num_classes)]
    card = Card.model_construct(
        task="multiclass", classes=classes, preprocessing=seen, weights_sha256="0" * 64, data_sha256={}, positive_class=None
    )
    predictor = Predictor(Published(Normalized(Wide(num_classes), seen).eval(), card), hardware, "evaluate")
    rng = np.random.default_rng(0)
    parts = {
        name: Images(pack, np.arange(num) % len(pack), rng.integers(0, num_classes, num))
        for name, num in (("val", num_images // 4), ("test", num_images))
    }
    found = evaluate_images(predictor, params, parts, predictions=out)
    assert found.predictions["test"].probabilities is None
    content = found.intervals()
    assert content["test"]["top5_accuracy"]["high"] is not None
    assert content["about"]["left_out"]["per_class"] == "more than 1000 classes"
    assert len(read_predictions(out)["test"]) == num_images


def test_memory_does_not_grow_with_images_and_classes(digits: Any, make_params: Callable[..., Params], tmp_path: Path) -> None:
    params = make_params({"hardware.accelerator": "cpu", "evaluate.batch_size": 50, "hardware.num_workers": 0})
    peaks = []
    for number in (100, 800):
        tracemalloc.start()
        measure_wide(digits.pack, params.hardware, params, number, 3000, tmp_path / "p.parquet")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # All probabilities of the 700 images more would be 17 MB; of `val`, a sample is kept to fit the temperature.
    assert peaks[1] - peaks[0] < 6_000_000


SCRIPT = """
import resource, sys
sys.path[:0] = [{src!r}, {tests!r}, {here!r}]
from pathlib import Path
from darkroom.base.params_file import load_params
from darkroom.data.pack import Pack
from test_evaluate import measure_wide
pack, params = Pack.open(Path({raw!r})), load_params(Path({params!r}))
measure_wide(pack, params.hardware, params, 200, 1001, Path({out!r}))  # what libraries take
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
measure_wide(pack, params.hardware, params, 5000, 21841, Path({out!r}))
print(before // 1024, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.thorough
@pytest.mark.slow
def test_five_thousand_images_of_imagenet_s_21_841_classes_take_little_memory(digits: Any, tmp_path: Path) -> None:
    """All their probabilities took 31 bytes each, 4.2 GB with those of val; the peak is that of one batch and of the fit."""
    here = Path(__file__)
    places = {"src": paths.ROOT / "src", "tests": paths.ROOT / "tests", "here": here.parent, "raw": digits.raw}
    given = places | {"params": paths.PARAMS, "out": tmp_path / "p.parquet"}
    code = SCRIPT.format(**{name: str(path) for name, path in given.items()})
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, peak = map(int, run.stdout.split()[-2:])
    assert peak - before < 750, f"{before} MiB, then {peak} MiB"
