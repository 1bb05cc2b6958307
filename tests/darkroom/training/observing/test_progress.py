"""On a terminal the bar moves and ends on the last epoch's metrics; tested under a pseudo-terminal, as people see it."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from darkroom.training.observing.progress import ProgressReport

SCRIPT = """
import sys
sys.path[:0] = [{src!r}, {tests!r}]
from pathlib import Path
from conftest import CONTENT, make_data
from darkroom.sources.read import read_source
from darkroom.base.params_file import check_params
from darkroom.training.observing import progress
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan
from darkroom.training.checkpoints.saved_states import StateStore

progress.REFRESH_SECONDS = 0.02  # a fast machine ends before the bar's own quarter of a second
CONTENT["train"]["epochs"] = 3
CONTENT["hardware"]["accelerator"] = "cpu"
params = check_params(CONTENT)
with read_source(params.download, Path(".")) as listing:
    data = make_data(Path("."), listing)
store = StateStore(Path("states"), {{}})
with store.held():
    fit(make_plan(params, data.pack, data.split.rows["train"]), data.split, store)
store.log_dir.rename("log")
"""


@pytest.mark.slow
def test_the_bar_on_a_terminal(tmp_path: Path) -> None:
    tests = Path(__file__).resolve().parents[3]
    code = SCRIPT.format(src=str(tests.parent / "src"), tests=str(tests))
    master, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=terminal,
        stderr=terminal,
        env=os.environ | {"COLUMNS": "120", "TERM": "xterm"},
    ) as process:
        os.close(terminal)
        seen = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not part:
                break
            seen += part
    os.close(master)
    assert process.returncode == 0, seen.decode()
    frames = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame) for frame in seen.decode().replace("\n", "\r").split("\r")]
    frames = [frame for frame in frames if frame.strip()]
    assert len({frame for frame in frames if frame.startswith("epoch")}) > 3
    last = (tmp_path / "log/plots/metrics/val/accuracy.tsv").read_text().splitlines()[-1].split("\t")[1]
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
