"""A training that belongs to a search tells it every validation, and ends when it is told to, with nothing to go on from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base import paths
from darkroom.base.errors import Pruned, RunError
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.experiments.runs import _Listener
from darkroom.training import fit as fitting
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "train.model.kwargs": {"width": 4, "stages": 2},
    "train.batch_size": 16,
    "train.epochs": 4,
    "hardware.accelerator": "cpu",
    "train.early_stopping": None,
}


def train(params: Params, data: Any, store: StateStore) -> None:
    rows = data.split.rows
    split = Split(data.split.classes, {"train": rows["train"][:64], "val": rows["val"][:60], "test": rows["test"]}, "")
    with store.held():
        fitting.fit(make_plan(params, data.pack, split.rows["train"]), split, store)


def test_every_epoch_is_told_and_the_verdict_obeyed(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[dict[str, Any]] = []

    def judge(report: dict[str, Any]) -> str | None:
        heard.append(report)
        return "others are better" if report["epoch"] == 3 else None

    store = StateStore(tmp_path, {})
    with _Listener(judge) as listener:
        monkeypatch.setenv(paths.TRIAL_SOCKET, listener.env[paths.TRIAL_SOCKET])
        with pytest.raises(Pruned, match="pruned at epoch 3 by the search: others are better; nothing was published"):
            train(make_params(SMALL), digits, store)
    assert [report["epoch"] for report in heard] == [1, 2, 3]
    assert all({"val/loss", "val/accuracy"} <= set(report["metrics"]) for report in heard)
    assert store.latest() is None


def test_a_search_that_has_gone_ends_the_training_in_one_line(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.TRIAL_SOCKET, str(tmp_path / "nobody"))
    with pytest.raises(RunError, match=r"nobody: the search does not respond \(.*\); start it again, and the trial resumes"):
        train(make_params(SMALL), digits, StateStore(tmp_path / "states", {}))
