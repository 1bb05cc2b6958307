"""On a terminal the bar moves and ends on the last epoch's metrics; tested under a pseudo-terminal, as people see it."""

import os
import pty
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interruptions import CHANGES, few_of, run

from darkroom.base.params import Params
from darkroom.training.observing import progress


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
