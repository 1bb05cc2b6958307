"""Memory that a step frees is there for the next one."""

import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[3] / "src"
STEPS = """
import resource
from darkroom.training.memory import keep_freed_memory
{call}
import torch
network = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
images = torch.randn(64, 3, 128, 128)
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def cleared_pages(call: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", STEPS.format(call=call)], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' libraries have no such setting")
def test_a_step_asks_for_no_memory_anew() -> None:
    kept, given_back = cleared_pages("keep_freed_memory()"), cleared_pages("")
    assert given_back > 3000  # one result alone is 12 MB, which are 3072 pages
    assert kept < given_back / 10
