"""Two runs in one workspace: one proceeds, the other ends with an error that names the process of the first.

`make test` tries it once, `make test-all` 13 times, CHAOS=long 100 times.
"""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clones import Clone, Finished

pytestmark = pytest.mark.slow
PARTS = 5
FIRST, SHORT, LONG = 1, 3, 20  # rounds in the first part, in each other one, and in each of the long form


@pytest.fixture
def clone(finished: Finished, tmp_path: Path) -> Clone:
    """A clone whose training does not end by itself."""
    made = finished.copy(tmp_path / "darkroom")
    made.edit({"epochs: 3": "epochs: 1000000", "patience: 10": "patience: 1000000"})
    return made


def start(clone: Clone) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "src/train.py"], cwd=clone.path, env=clone.env, text=True, **pipes)


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.thorough) for part in range(1, PARTS))])
def test_one_proceeds_and_the_other_is_told(clone: Clone, part: int, *, long: bool) -> None:
    rounds = LONG if long else SHORT if part else FIRST
    numbers = random.Random(part)
    for _ in range(rounds):
        first = start(clone)
        time.sleep(numbers.uniform(0, 0.3))
        second = start(clone)
        try:
            deadline = time.monotonic() + 30
            while first.poll() is None and second.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            ended, holder = (first, second) if first.poll() is not None else (second, first)
            assert holder.poll() is None, "both ended"
            assert ended.returncode == 1
            told = ended.stderr.read()
            assert re.match(r"error: \.dvc/tmp/darkroom\.lock: the stage train \(process (\d+) on .*\) is running here", told), (
                told
            )
            assert f"(process {holder.pid} " in told
        finally:
            for process in (first, second):
                process.kill()
                process.wait()
                process.stderr.close()
    print(f"\ntwo runs: {rounds} rounds, one proceeded, the other named its process")
