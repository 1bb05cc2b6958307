"""On a terminal the bar moves and ends on the last epoch's metrics; tested under a pseudo-terminal, as people see it."""

import os
import pty
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interruptions import CHANGES, few_of, run

from darkroom.base.params import Params
from darkroom.training.observing import progress
from darkroom.training.observing.progress import ProgressReport


def read_all(descriptor: int, parts: list[bytes]) -> None:
    while True:
        try:
            part = os.read(descriptor, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        parts.append(part)


@pytest.mark.filterwarnings("ignore")
def test_the_bar_on_a_terminal(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REFRESH_SECONDS", 0.005)  # a small training ends before the bar's own quarter of a second
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    master, terminal = pty.openpty()
    parts: list[bytes] = []
    reader = threading.Thread(target=read_all, args=(master, parts))
    reader.start()
    try:
        with os.fdopen(terminal, "w") as screen, monkeypatch.context() as shown:
            shown.setattr(sys, "stdout", screen)
            log = run(make_params(CHANGES), few_of(digits), tmp_path, [None]).log
    finally:
        reader.join()
        os.close(master)
    seen = b"".join(parts).decode()
    frames = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame) for frame in seen.replace("\n", "\r").split("\r")]
    frames = [frame for frame in frames if frame.strip()]
    assert len({frame for frame in frames if frame.startswith("epoch")}) > 3
    last = log["plots/metrics/val/accuracy.tsv"].decode().splitlines()[-1].split("\t")[1]
    assert frames[-1].startswith("epoch 3/3")
    assert f"val/accuracy {float(last):.4f}" in frames[-1]
    assert re.search(r"loss \d\.\d+ .* images/s +\d+:\d\d:\d\d", frames[-1])


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
