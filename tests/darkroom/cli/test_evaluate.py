"""./darkroom evaluate and predict with any model, on any labelled images; what is recorded stays as it is."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from publishing import Best
from ruamel.yaml import YAML
from safetensors.torch import load_file

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.cli import evaluate, predict
from darkroom.models.model_json import data_hashes, make_card
from darkroom.models.saving import save_model
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"train.model.kwargs": {"width": 4, "stages": 1}, "hardware.accelerator": "cpu"}
NAMES = [f"epoch_{number:04d}" for number in (1, 2)]


@pytest.fixture
def workspace(
    make_params: Callable[..., Any], content: Any, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A workspace with the digits, a published model, and two kept epochs that differ from it."""
    params = make_params(SMALL | {"predict.input": str(digits.raw.parent / "split")})
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    card = make_card(
        params, plan.preprocessing, digits.split.classes, data_hashes(digits.raw, digits.split), Best(), about=plan.about
    )
    for number, name in enumerate([".", *(f"checkpoints/{name}" for name in NAMES)]):
        torch.manual_seed(number)
        weights = {
            key: value + torch.rand_like(value) if value.is_floating_point() else value
            for key, value in plan.classifier.network.state_dict().items()
        }
        save_model(tmp_path / "models" / name, weights, card)
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    for key, value in {"RAW": digits.raw, "SPLIT": digits.raw.parent / "split"}.items():
        monkeypatch.setattr(paths, key, value)
    monkeypatch.setattr(paths, "MODELS", tmp_path / "models")
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_images(digits: Any, folder: Path, names: dict[int, str], count: int = 4) -> None:
    """Write test images of some classes, in folders with these names."""
    rows = digits.split.rows["test"]
    for label, name in names.items():
        (folder / name).mkdir(parents=True)
        for row in rows[digits.pack.labels[rows] == label][:count]:
            Image.fromarray(digits.pack[int(row)][..., 0]).save(folder / name / f"{row}.png")


def metrics_of(text: str, name: str) -> dict[str, float]:
    line = re.search(rf"^evaluate: {name}  (.*)$", text, re.MULTILINE)
    assert line, text
    return {part.rpartition(" ")[0]: float(part.rpartition(" ")[2]) for part in line[1].split("  ")}


def test_one_split_of_one_model(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Validation only: a kept epoch is another model, and writes only where it is told."""
    before = sorted(workspace.rglob("*"))
    evaluate.main(["--split", "val"])
    published = capsys.readouterr().out
    assert "evaluate: test" not in published
    evaluate.main(["--split", "val", "--model", "models/checkpoints/epoch_0001"])
    assert metrics_of(capsys.readouterr().out, "val")["loss"] != metrics_of(published, "val")["loss"]
    assert sorted(workspace.rglob("*")) == before
    evaluate.main(["--out", "measured.json"])
    assert "evaluate: metrics -> measured.json" in capsys.readouterr().out
    assert set(json.loads((workspace / "measured.json").read_text())["metrics"]) == {"val", "test"}
    for out in ("measured.txt", "models/measured.json"):
        with pytest.raises(InputError, match=r"^--out: "):
            evaluate.main(["--out", out])


@pytest.mark.usefixtures("workspace")
def test_what_was_predicted_is_no_truth(digits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(digits, tmp_path / "few", {3: "3", 7: "7"})
    lines = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted((tmp_path / "few").rglob("*.png"))]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    for ending in ("csv", "jsonl", "parquet"):
        predict.main(["few", "--out", f"plain.{ending}"])
        with pytest.raises(
            InputError, match=rf"plain\.{ending}: holds predictions, and no true classes \(column 'actual'\); to "
        ):
            evaluate.main(["--data", f"plain.{ending}"])
        predict.main(["labels.csv", "--out", f"known.{ending}"])
        capsys.readouterr()
        evaluate.main(["--data", f"known.{ending}"])
        told = capsys.readouterr().out
        evaluate.main(["--data", "labels.csv"])
        assert told == capsys.readouterr().out


@pytest.mark.parametrize("ending", [".safetensors", ".ckpt"])
def test_a_file_of_weights_is_measured_as_its_model(workspace: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    evaluate.main(["--split", "test"])
    expected = metrics_of(capsys.readouterr().out, "test")
    file = workspace / f"alone{ending}"
    weights = load_file(workspace / "models" / "model.safetensors")
    if ending == ".ckpt":
        torch.save({"state_dict": {name.replace("network.", "model._orig_mod."): value for name, value in weights.items()}}, file)
    else:
        shutil.copy(workspace / "models" / "model.safetensors", file)
    evaluate.main(["--split", "test", "--model", str(file)])
    told = capsys.readouterr().out
    assert metrics_of(told, "test") == expected
    assert "whether" in told
    assert "was trained on other images is not known" in told
    predict.main(["--model", str(file)])
    assert capsys.readouterr().out.count("\n") > predict.SHOWN


@pytest.mark.usefixtures("workspace")
def test_other_images_are_matched_by_the_names_of_their_classes(
    digits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folders 7, 3 and lion are classes 1, 0 and 2 there, and 7 and 3 to the model; lion is unknown and counted."""
    write_images(digits, tmp_path / "few", {3: "3", 7: "7"})
    evaluate.main(["--data", "few", "--out", "few.json"])
    known = capsys.readouterr().out
    assert "left out" not in known
    write_images(digits, tmp_path / "more", {3: "3", 7: "7", 5: "lion"})
    evaluate.main(["--data", "more", "--out", "more.json"])
    told = capsys.readouterr().out
    assert "evaluate: 4 images are left out, since the model does not know their classes: lion (4)\n" in told
    few, more = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("few", "more"))
    assert few["metrics"] == more["metrics"]
    assert few["images"] == more["images"] == {"data": 8}
    assert more["left_out"] == {"lion": 4}
    # The labels are those of the model: what it predicts for these images, counted by hand.
    predict.main(["few", "--out", "few.csv"])
    rows = (tmp_path / "few.csv").read_text().splitlines()[1:]
    right = [row.split(",")[0].split("/")[-2] == row.split(",")[1] for row in rows]
    assert few["metrics"]["data"]["accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.usefixtures("workspace")
def test_a_table_and_an_archive(digits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(digits, tmp_path / "few", {3: "3", 7: "7"})
    evaluate.main(["--data", "few"])
    expected = metrics_of(capsys.readouterr().out, "data")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "few")
    evaluate.main(["--data", "packed.zip"])
    assert metrics_of(capsys.readouterr().out, "data") == expected
    images = sorted((tmp_path / "few").rglob("*.png"))
    lines = [
        f"{path.relative_to(tmp_path)},{path.parent.name},{'val' if number % 2 else 'train'}"
        for number, path in enumerate(images)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    evaluate.main(["--data", "labels.csv"])
    assert metrics_of(capsys.readouterr().out, "data") == expected
    evaluate.main(["--data", "labels.csv", "--split", "val", "--out", "val.json"])
    assert json.loads((tmp_path / "val.json").read_text())["images"] == {"val": 4}
    with pytest.raises(InputError, match=r"^--split: labels\.csv has no images in test; it has train, val$"):
        evaluate.main(["--data", "labels.csv", "--split", "test"])


@pytest.mark.usefixtures("workspace")
def test_no_known_class_is_an_error_with_the_nearest_name(digits: Any, tmp_path: Path) -> None:
    write_images(digits, tmp_path / "unknown", {3: "cat", 7: "dog"})
    with pytest.raises(
        InputError, match=r"^--data: the model knows no class of unknown, such as 'cat'; it knows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9$"
    ):
        evaluate.main(["--data", "unknown"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("models/checkpoints/epoch_0003", r"does not exist; did you mean 'models/checkpoints/epoch_000\d'\?$"),
        ("models/checkpoints", r"holds several models; name one of epoch_0001, epoch_0002$"),
        ("alone.ckpy", r"does not exist; did you mean 'alone\.ckpt'\?$"),
        ("params.yaml", r"is no file of weights; name one that ends with \.safetensors, "),
        ("hedd", r"is no folder or file, and is not a commit, branch, tag or experiment; "),
        ("modells", r"modells is no folder or file, and is not a commit, branch, tag or experiment; did you mean 'models'\?$"),
        ("broken.ckpt", r"broken\.ckpt (is damaged|holds more than tensors)"),
    ],
)
@pytest.mark.parametrize("command", [evaluate, predict], ids=["evaluate", "predict"])
def test_what_is_no_model_is_one_line(workspace: Path, command: Any, model: str, message: str) -> None:
    for name in ("alone.ckpt", "broken.ckpt"):
        (workspace / name).write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=rf"^--model: .*{message}") as caught:
        command.main(["--model", model])
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("workspace")
def test_data_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"^--data: photo does not exist; did you mean 'photos'\?$"):
        evaluate.main(["--data", "photo"])
