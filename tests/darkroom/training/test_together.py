"""Two processes that train together come to what one comes to, where nothing depends on how images are divided."""

import json
from pathlib import Path

import pytest
import torch
from clones import TWO_PROCESSES, Clone, Finished
from safetensors.torch import load_file

# tests/chaos/test_ranks.py has two processes in every run.
pytestmark = [pytest.mark.slow, pytest.mark.thorough, pytest.mark.xdist_group("together")]
# Neither statistics of normalisation nor dropout, which are of each process's own images.
HEAD_ALONE = {
    "freeze: 0.0": "freeze: true",
    "kwargs: {width: 8}": "kwargs: {width: 8, dropout: 0.0}",
    "  augment:\n  - _target_: darkroom.input.augment.RandomShift\n    pixels: 1\n": "  augment: []\n",
    "  metrics: {} ": "  metrics: {f1_micro: {_target_: torchmetrics.functional.classification.f1_score, average: micro}} ",
}


@pytest.fixture(scope="module")
def clone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = finished.copy(tmp_path_factory.mktemp("together") / "darkroom")
    made.run("cp -r models teacher && sed -i '/^  train:/,/deps:/ s/^    deps:/    deps:\\n    - teacher/' dvc.yaml")
    made.edit(HEAD_ALONE)
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {"cache_features: false": "cache_features: true"},
        {"teacher: null": "teacher: {model: teacher, weight: 0.7, temperature: 2.0}"},
    ],
    ids=["cached features", "taught"],
)
def test_two_processes_train_the_same(clone: Clone, changes: dict[str, str]) -> None:
    before = (clone.path / "params.yaml").read_text()
    clone.edit(changes)
    alone, value_alone = trained(clone)
    clone.edit(TWO_PROCESSES)
    together, value_together = trained(clone)
    (clone.path / "params.yaml").write_text(before)
    for name, value in alone.items():
        assert torch.allclose(together[name], value, atol=1e-4), name
    # The metric is of all validation images, which the processes share.
    assert value_together == pytest.approx(value_alone, abs=0.01)


def test_two_processes_have_the_head_that_one_has_fitted(clone: Clone) -> None:
    before = (clone.path / "params.yaml").read_text()
    clone.edit({"fit_head: null": "fit_head: logistic_regression", "  epochs: 3": "  epochs: 1"})
    _, value_alone = trained(clone)
    clone.edit(TWO_PROCESSES)
    _, value_together = trained(clone)
    (clone.path / "params.yaml").write_text(before)
    assert value_together == pytest.approx(value_alone, abs=0.02)


def trained(clone: Clone) -> tuple[dict[str, torch.Tensor], float]:
    """Return the weights, and the metric of the published epoch, which is an accuracy by another name."""
    clone.run("rm -rf .resume && python src/train.py")
    published = json.loads((clone.path / "metrics/train.json").read_text())["published"]
    assert published["f1_micro"] == pytest.approx(published["accuracy"], abs=1e-6)
    return load_file(Path(clone.path, "models", "model.safetensors")), published["f1_micro"]
