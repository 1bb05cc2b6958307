"""A training that no longer improves ends, and says when, why and what is published; after an interruption it goes on waiting."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interruptions import CHANGES, Result, Stop, assert_equal, few_of, run

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
# No value is better by so much than the first one.
STOPPING = {"train.epochs": 9, "train.early_stopping": {"patience": 2, "min_delta": 100.0}}
LEARNS = {"train.lr": 0.03, "train.scheduler": None, "train.model.kwargs": {"width": 8, "stages": 2}, "train.augment": []}
Train = Callable[..., Result]


@pytest.fixture
def train(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> Train:
    def make(changes: dict[str, Any], *stops: Stop, folder: str = "run") -> Result:
        return run(make_params(CHANGES | STOPPING | changes), few_of(digits), tmp_path / folder, [*stops, None])

    return make


def values(result: Result, name: str) -> list[float]:
    return [float(row.split("\t")[1]) for row in result.log[f"plots/metrics/{name}.tsv"].decode().splitlines()[1:]]


def test_it_says_when_why_and_what_is_published(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    result = train({"train.monitor": "val/loss"})
    losses = values(result, "val/loss")
    assert len(losses) == 3
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "stopped early" in line]
    assert line == (
        "train: stopped early at epoch 3 of 9: val/loss has not improved by more than 100 for 2 validations (patience 2); "
        f"best value {losses[0]:.4f} in epoch 1; published are the weights of epoch {result.card[0]}"
    )
    train({"train.monitor": "val/loss"})  # is finished, and only published
    assert line in capsys.readouterr().out


def test_a_training_that_reaches_its_last_epoch_says_nothing(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(values(train({"train.epochs": 3}), "val/loss")) == 3
    assert "stopped early" not in capsys.readouterr().out


def test_it_may_watch_another_metric_than_the_one_that_picks_the_epoch(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    stopping = {"monitor": "val/loss", "patience": 1, "min_delta": 100.0}
    result = train({"train.monitor": "val/accuracy", "train.early_stopping": stopping})
    assert len(values(result, "val/loss")) == 2
    assert "2 of 9: val/loss has not improved by more than 100 for 1 validation (" in capsys.readouterr().out
    assert result.kept[0].monitor == "val/accuracy"


def test_a_metric_of_the_training_is_looked_at_once_an_epoch(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where there are two validations an epoch, after which it is not known yet."""
    stopping = {"monitor": "train/loss", "patience": 2, "min_delta": 100.0, "verbose": True}
    changes = {"train.early_stopping": stopping, "train.trainer": {"val_check_interval": 0.5}}
    result = train(changes)
    losses = values(result, "train/loss")
    assert len(losses) == 3
    assert len(values(result, "val/loss")) == 6
    lines = [line for line in capsys.readouterr().out.splitlines() if "early stopping" in line]
    assert lines == [
        f"train: epoch 1: early stopping: train/loss: {losses[0]:.4f} is the best so far",
        f"train: epoch 2: early stopping: train/loss: no better than {losses[0]:.4f} in epoch 1 for 1 of 2 epochs",
        f"train: epoch 3: early stopping: train/loss: no better than {losses[0]:.4f} in epoch 1 for 2 of 2 epochs",
    ]
    stops = [Stop("asked", "step", 6), Stop("killed", "epoch", 2), Stop("asked", "validation", 1)]
    assert_equal(train(changes, *stops, folder="chain"), result)
    assert "best value" in capsys.readouterr().out


def test_values_that_improve_are_waited_for(train: Train) -> None:
    stopping = {"monitor": "train/loss", "patience": 2, "min_delta": 0.0}
    losses = values(train(LEARNS | {"train.early_stopping": stopping, "train.epochs": 5}), "train/loss")
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)


SPECIFICITY = {"train.metrics": {"specificity": "Specificity"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            SPECIFICITY | {"train.monitor": "val/specificity"},
            r"train\.monitor_mode: whether higher or lower is better for val/specificity is unknown .*; set it to max or min",
        ),
        (
            SPECIFICITY | {"train.early_stopping": {"monitor": "val/specificity", "patience": 1, "min_delta": 0.0}},
            r"train\.monitor_mode: whether higher or lower is better for val/specificity",
        ),
        (
            {"train.monitor_mode": "min"},
            r"train\.monitor_mode: is min, but higher values of val/accuracy are better; set it to null",
        ),
    ],
)
def test_the_direction_of_a_metric_is_known_or_asked_for(make_params: Any, digits: Any, changes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(make_params(CHANGES | changes), digits.pack, digits.split.rows["train"])


@pytest.mark.parametrize(("mode", "best_of"), [("max", max), ("min", min)])
def test_monitor_mode_says_which_values_of_a_metric_are_better(train: Train, mode: str, best_of: Any) -> None:
    changes = SPECIFICITY | LEARNS | {"train.monitor": "val/specificity", "train.monitor_mode": mode, "train.epochs": 3}
    result = train(changes, folder=mode)
    found = values(result, "val/specificity")
    assert len(set(found)) > 1
    assert result.card[1] == pytest.approx(best_of(found))


def test_a_mode_that_agrees_is_accepted(make_params: Any, digits: Any) -> None:
    plan = make_plan(make_params(CHANGES | {"train.monitor_mode": "max"}), digits.pack, digits.split.rows["train"])
    assert plan.objective.mode == "max"
    assert re.fullmatch("min|max", plan.objective.stop_mode)
