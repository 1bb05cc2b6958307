"""On a terminal the bar moves below a line for every epoch, and nothing of it remains; tested under a pseudo-terminal."""

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interruptions import CHANGES, Stop, few_of, run
from terminal import Screen, Terminal, terminal

from darkroom.base.params import Params
from darkroom.training.checkpoints.resume import KeepState
from darkroom.training.observing import progress
from darkroom.training.observing.progress import ProgressReport

WIDTH = 100
EPOCH = r"epoch {}/3  train/loss \d\.\d{{4}}  val/loss \d\.\d{{4}}  val/accuracy \d\.\d{{4}}  [\d,]+ images/s"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.005)  # a small training ends before the bar's own quarter of a second
    return terminal(WIDTH)


def of_bar(written: str) -> set[str]:
    """Return the lines of the bar that were shown for a moment."""
    frames = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame) for frame in written.replace("\n", "\r").split("\r")]
    return {frame for frame in frames if re.match(r"epoch .*loss \d\.\d+ .* images/s +\d+:\d\d:\d\d", frame)}


@pytest.mark.filterwarnings("ignore")
def test_a_bar_below_a_line_for_every_epoch(make_params: Callable[..., Params], digits: Any, tmp_path: Path, screen: Any) -> None:
    with screen as opened:
        print("before")
        log = run(make_params(CHANGES), few_of(digits), tmp_path, [None]).log
        print("after")
    written = opened.close()
    assert len(of_bar(written)) > 3
    shown = Screen(WIDTH).write(written)
    before, _, *epochs, after, _ = shown.lines()
    assert (before, after, shown.shows_cursor) == ("before", "after", True)
    assert len(epochs) == 3
    for number, line in enumerate(epochs, start=1):
        assert re.fullmatch(EPOCH.format(number), line)
    last = log["plots/metrics/val/accuracy.tsv"].decode().splitlines()[-1].split("\t")[1]
    assert f"val/accuracy {float(last):.4f}" in epochs[-1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("width", [WIDTH, 40])
def test_nothing_of_the_bar_remains_after_ctrl_c(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.005)
    few, stop = few_of(digits), Stop("asked", "step", 9, signal.SIGINT)
    with terminal(width) as opened:
        press_at(monkeypatch, opened, stop.number)
        with pytest.raises(AssertionError, match="never came"):  # of `run`, once the training that was ended has been resumed
            run(make_params(CHANGES), few, tmp_path, [stop, Stop("asked", "step", 99)])
    written = opened.close()
    assert of_bar(written) or width < WIDTH
    assert "^C" in written
    shown = Screen(width).write(written)
    text = "".join(shown.lines())
    assert [*re.findall(r"epoch (\d)/3", text)] == ["1", "2", "3"]
    assert "^C" not in text
    assert "━" not in text
    assert not re.search(r"\d:\d\d:\d\d", text)
    assert shown.shows_cursor
    assert shown.column == 0


def press_at(monkeypatch: pytest.MonkeyPatch, opened: Terminal, step: int) -> None:
    """Let Ctrl-C be pressed when a step begins, of which `Stop` sends the signal."""
    original, seen = KeepState.on_train_batch_start, []

    def hook(self: KeepState, *arguments: Any) -> None:
        seen.append(0)
        if len(seen) == step:
            opened.press(b"\x03")
        original(self, *arguments)

    monkeypatch.setattr(KeepState, "on_train_batch_start", hook)


class Updates:
    """Stands in for the bar and counts its updates."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def update(self, task: Any, **fields: Any) -> None:  # noqa: ARG002
        self.steps += [fields["completed"]] if "completed" in fields else []


@pytest.mark.parametrize(("refresh", "expected"), [(5, [5, 10]), (1, list(range(1, 13)))])
def test_the_bar_is_updated_every_nth_step(refresh: int, expected: list[int]) -> None:
    report = ProgressReport("val/accuracy", 8, refresh)
    report.bar = bar = Updates()  # type: ignore[assignment]
    for step in range(1, 13):
        trainer = SimpleNamespace(global_step=step, callback_metrics={})
        report.on_train_batch_end(trainer, None, torch.tensor(1.0), None, step)  # type: ignore[arg-type]
    assert bar.steps == expected


@pytest.mark.parametrize(("refresh", "opens"), [(None, True), (7, True), (0, False)])
def test_zero_means_no_bar(refresh: int | None, opens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    report = ProgressReport("val/accuracy", 8, refresh)
    trainer = SimpleNamespace(is_global_zero=True, estimated_stepping_batches=3, current_epoch=0, max_epochs=1)
    report.on_train_start(trainer, None)  # type: ignore[arg-type]
    assert (report.bar is not None) == opens
    report.teardown(trainer, None, "fit")  # type: ignore[arg-type]
