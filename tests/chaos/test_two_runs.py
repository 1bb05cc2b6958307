"""Two runs in one workspace: one proceeds, the other is told which process holds it."""

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from clones import Clone, make_clone

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone whose training does not end by itself."""
    made = make_clone(tmp_path / "darkroom")
    made.run("python src/download.py && python src/split.py")
    made.edit({"epochs: 3": "epochs: 1000000", "patience: 10": "patience: 1000000"})
    return made


def start(clone: Clone) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "src/train.py"], cwd=clone.path, env=clone.env, text=True, **pipes)


def test_one_proceeds_and_the_other_is_told(clone: Clone, *, long: bool) -> None:
    rounds = 100 if long else 15
    numbers = random.Random(0)
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
    print(f"\ntwo runs: {rounds} rounds, one proceeded, the other was told the process")
