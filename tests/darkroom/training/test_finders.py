"""The finders find what can be known beforehand, and change nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.base.errors import RunError
from darkroom.base.params import Params
from darkroom.training import finders
from darkroom.training.finders import Trial, find_batch_size, find_lr, smallest_fast, steepest
from darkroom.training.plan import Plan, make_plan

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def plan(make_params: Callable[..., Params], digits: Any) -> Plan:
    small = {"train.model.kwargs": {"width": 4, "stages": 2}, "hardware.accelerator": "cpu"}
    return make_plan(make_params(small), digits.pack, digits.split.rows["train"])


def test_the_steepest_descent_of_a_known_curve() -> None:
    rates = np.geomspace(1e-6, 1, 121)
    losses = 2 - np.tanh(2 * np.log(rates / 3e-3))
    assert steepest(rates, losses) == pytest.approx(3e-3, rel=0.15)
    with pytest.raises(RunError, match="falls at no learning rate"):
        steepest(rates, np.linspace(1, 2, 121))
    with pytest.raises(RunError, match="diverges at the lowest"):
        steepest(rates[:8], losses[:8])


def test_a_learning_rate_that_trains(plan: Plan, digits: Any, tmp_path: Path) -> None:
    found = find_lr(plan, digits.split.rows["train"], num_steps=100, chart=tmp_path / "lr.png")
    assert 1e-4 < found < 1
    assert Image.open(tmp_path / "lr.png").size[0] >= 500


def test_batch_sizes_until_memory_runs_out(plan: Plan, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = finders.SweepTrainer.step

    def step(self: finders.SweepTrainer, batch: Any) -> torch.Tensor:
        if len(batch["labels"]) > 40:
            raise torch.OutOfMemoryError
        return original(self, batch)

    monkeypatch.setattr(finders.SweepTrainer, "step", step)
    told: list[Trial] = []
    rows = digits.split.rows["train"]
    trials = find_batch_size(plan, rows, chart=tmp_path / "sizes.png", tell=told.append)
    assert [trial.batch_size for trial in trials] == [8, 16, 32]
    assert told == trials
    assert all(trial.images_per_second > 0 < trial.memory_gb for trial in trials)
    assert (tmp_path / "sizes.png").exists()
    few = find_batch_size(plan, rows[:12], chart=tmp_path / "sizes.png", tell=told.append)
    assert [trial.batch_size for trial in few] == [8, 12]
    monkeypatch.setattr(finders, "SMALLEST_BATCH", 64)
    with pytest.raises(RunError, match="not even 64 images fit"):
        find_batch_size(plan, rows, chart=tmp_path / "sizes.png", tell=told.append)


def test_a_batch_that_would_fill_the_memory_is_not_tried(
    plan: Plan, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finders, "USABLE", -1.0)
    rows = digits.split.rows["train"]
    trials = find_batch_size(plan, rows, chart=tmp_path / "sizes.png", tell=lambda _: None)
    assert [trial.batch_size for trial in trials] == [8]


def test_the_smallest_that_is_smallest_fast() -> None:
    trials = [Trial(size, speed, 0.0) for size, speed in ((8, 50.0), (16, 96.0), (32, 100.0), (64, 90.0))]
    assert smallest_fast(trials).batch_size == 16
