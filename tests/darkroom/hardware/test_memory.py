"""Memory that a step frees is there for the next one; what is free is known in a container, too."""

import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.hardware.memory import free_memory

SRC = Path(__file__).resolve().parents[3] / "src"
STEPS = """
import resource
import torch
from darkroom.base.errors import InputError
from darkroom.features.backbone import open_backbone
from darkroom.hardware.memory import keep_freed_memory
from darkroom.inference.predictor import Predictor

def no_model():
    raise LookupError

def cleared_pages():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        network(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

network = torch.nn.Sequential(*(torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(3)))
images = torch.randn(64, 3, 128, 128)
given_back = cleared_pages()
try:
    {}
except (LookupError, InputError):
    pass
print(cleared_pages(), given_back)
"""


@pytest.mark.sample(1)
@pytest.mark.skipif(sys.platform != "linux", reason="other systems' libraries have no such setting")
@pytest.mark.parametrize(
    "before",
    [
        "keep_freed_memory()",
        "Predictor.load(no_model, None, 'evaluate')",
        pytest.param("open_backbone(hardware=None, channels=2)", marks=pytest.mark.thorough),
    ],
    ids=["as train does", "for a model", "for a backbone"],
)
def test_a_step_asks_for_no_memory_anew(before: str) -> None:
    steps = STEPS.replace("{}", before, 1)
    done = subprocess.run([sys.executable, "-c", steps], env={"PYTHONPATH": str(SRC)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept, given_back = map(int, done.stdout.split())
    assert given_back > 3000  # one result alone is 12 MB, which are 3072 pages
    assert kept < given_back / 10


def group(folder: Path, limit: int | str, used: int, cache: int, *, version: int) -> None:
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{'total_' if version == 1 else ''}inactive_file {cache}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_s_memory_is_what_it_is_given(tmp_path: Path, version: int) -> None:
    mount, groups = tmp_path / "cgroup", tmp_path / "groups"
    groups.write_text("9:name=systemd:/\n4:cpu,memory:/job/step\n0::/\n" if version == 1 else "0::/job/step\n")
    root = mount / "memory" if version == 1 else mount
    assert free_memory(groups, mount) > 10**8  # nothing tells of a limit
    group(root / "job" / "step", "max" if version == 2 else 2**63 - 4096, 10, 0, version=version)
    assert free_memory(groups, mount) > 10**8
    group(root / "job", 1000, 700, 200, version=version)
    assert free_memory(groups, mount) == 500
    group(root, 400, 100, 0, version=version)  # a container's own, whose name outside is not known here
    assert free_memory(groups, mount) == 300
    group(root, 400, 500, 0, version=version)
    assert free_memory(groups, mount) == 0
    assert free_memory(tmp_path / "missing", mount) > 10**8
    (root / "memory.stat").unlink()
    assert free_memory(groups, mount) > 10**8  # a system that tells of it otherwise
