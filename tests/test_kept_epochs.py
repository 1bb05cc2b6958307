"""Kept epochs, soups and further metrics from the pipeline's point of view: recorded, checked, measured, started from; in two processes."""

import json
import shutil

import pytest
from clones import TWO_PROCESSES, Clone, Finished

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kept epochs")]
METRICS = "{auroc: AUROC, ece_bins: CalibrationError}"
CHANGES = {
    "epochs: 3": "epochs: 4",
    "keep_best: 1": "keep_best: 2",
    "keep_every: null": "keep_every: 4",
    "soup: null": "soup: 3",
    "  metrics: {}": f"  metrics: {METRICS}",
    "monitor: val/accuracy": "monitor: val/auroc",
    "ece_bins: 15\n  metrics: {}": f"ece_bins: 15\n  metrics: {METRICS}",
}

# At a high rate that stays high, later epochs swing around a mean that is better than each of them.
SCHEDULE = "scheduler:\n    _target_: darkroom.objective.schedules.WarmupCosine\n    warmup_fraction: 0.15"
UNSETTLED = {"lr: 0.01": "lr: 0.1", "epochs: 4": "epochs: 8", SCHEDULE: "scheduler: null"}


@pytest.fixture(scope="module")
def clone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which the stages ran, with a soup, and were committed."""
    made = finished.copy(tmp_path_factory.mktemp("kept") / "darkroom")
    made.edit(CHANGES)
    made.run("dvc repro && git add -A && git commit -qm results")
    return made


def card_of(clone: Clone) -> dict[str, object]:
    content: dict[str, object] = json.loads((clone.path / "models/model.json").read_text())
    return content


def checkpoints(clone: Clone) -> list[str]:
    return sorted(path.name for path in (clone.path / "models/checkpoints").iterdir() if path.is_dir())


def test_what_is_recorded_is_whole_and_comes_back(clone: Clone) -> None:
    names = checkpoints(clone)
    assert "epoch_0004" in names
    assert 2 <= len(names) <= 3
    assert clone.run("git status --porcelain").stdout == ""
    assert "Running stage" not in clone.run("dvc repro").stdout
    assert " 0 mismatches" in clone.run("./darkroom verify").stdout
    shutil.rmtree(clone.path / "models/checkpoints")
    clone.run("dvc checkout")
    assert checkpoints(clone) == names
    path = clone.path / "models" / "checkpoints" / names[0] / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told = clone.run("./darkroom verify", status=1).stdout
    assert f"models/checkpoints/index.json: {names[0]}/model.safetensors does not have the hash recorded in it" in told
    assert "models/checkpoints: differs from the output of train; run 'dvc checkout --force models/checkpoints'" in told
    clone.run("dvc checkout --force models/checkpoints")


def test_the_score_is_the_published_mean_s(clone: Clone) -> None:
    metrics = clone.metrics()
    assert card_of(clone)["score"] == pytest.approx(metrics["val"]["auroc"], abs=1e-6)
    assert metrics["test"]["ece_bins"] == pytest.approx(metrics["test"]["ece"], abs=1e-6)


@pytest.mark.thorough
def test_a_kept_epoch_is_measured_predicted_with_and_started_from(clone: Clone) -> None:
    folder = "models/checkpoints/epoch_0004"
    index = json.loads((clone.path / "models/checkpoints/index.json").read_text())
    before = clone.run("git status --porcelain && dvc status").stdout
    told = clone.run(f"./darkroom evaluate --model {folder}").stdout
    assert f"auroc {index['epochs']['epoch_0004']['val/auroc']:.4f}" in told.splitlines()[0]
    assert "-> own.csv" in clone.run(f"./darkroom predict --model {folder} --out own.csv").stdout
    assert clone.run(f"./darkroom predict --model {folder}").stdout.startswith("path")
    assert clone.run("./darkroom evaluate --model gone", status=2).stderr.startswith(
        "error: --model: gone is no folder or file, and "
    )
    (clone.path / "own.csv").unlink()
    assert clone.run("git status --porcelain && dvc status").stdout == before
    try:
        clone.edit({"init_from: null": f"init_from: {folder}"})
        assert (
            f"is removed when training starts; name what './darkroom commit HEAD:{folder}' prints"
            in clone.run("python src/train.py", status=2).stderr
        )
        named = clone.run(f"./darkroom commit HEAD:{folder}").stdout.strip()
        clone.edit({f"init_from: {folder}": f"init_from: {named}", "epochs: 4": "epochs: 1"})
        assert f":{folder}\n" in clone.run("dvc repro train").stdout
        weights = json.loads((clone.path / "models/model.json").read_text())["origin"]["sha256"]["model.safetensors"]
        assert weights == index["files"]["epoch_0004/model.safetensors"]
    finally:
        clone.restore()


@pytest.mark.thorough  # tests/chaos/test_ranks.py has two processes in every run
@pytest.mark.parametrize("soup", [True, False])
def test_two_processes_measure_what_one_does(clone: Clone, soup: bool) -> None:
    try:
        clone.edit(TWO_PROCESSES)
        clone.edit(UNSETTLED if soup else {"soup: 3": "soup: null"})
        told = clone.run("rm -rf .resume && python src/train.py && python src/evaluate.py").stdout
        card = card_of(clone)
        assert bool(card["soup"]) == soup == ("train: published the mean of epochs" in told)
        assert card["score"] == pytest.approx(clone.metrics()["val"]["auroc"], abs=1e-6)
        if soup:
            # Killed while the mean was computed: the state says that training is finished, and both processes compute it again.
            weights = (clone.path / "models/model.safetensors").read_bytes()
            clone.run("rm -rf .resume && python src/train.py && rm models/model.*")
            assert "finished before" in clone.run("python src/train.py").stdout
            assert (clone.path / "models/model.safetensors").read_bytes() == weights
    finally:
        clone.restore()
