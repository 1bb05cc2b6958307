"""Checks of torch, its device and disk space."""

import io
import runpy
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from findings_of import line, lines, way_out

from darkroom.base import paths
from darkroom.health import machine

ROOT = Path(__file__).resolve().parents[3]
SRC = ROOT / "src"


@pytest.fixture
def code(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with this checkout's code, and no GPU to see."""
    shutil.copytree(SRC / "darkroom", workspace / "src" / "darkroom", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return workspace


def in_this_process(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
    """Run a module where torch has been imported; test_a_broken_torch has processes of its own."""
    with redirect_stdout(io.StringIO()) as written:
        runpy.run_module(command[-1], run_name="__main__")
    return subprocess.CompletedProcess(command, 0, written.getvalue(), "")


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")  # told only where another test has imported it
def test_torch_and_its_device(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("a Mac has a device of its own")
    monkeypatch.setattr(machine, "GPUS_OF_DRIVER", code / "gpus")
    monkeypatch.setattr(paths, "PARAMS", code / "params.yaml")
    monkeypatch.setattr(machine.subprocess, "run", in_this_process)
    found = lines(machine.check_torch(code))
    assert found[0].startswith("ok torch torch 2.")
    assert found[1] == "ok device training would use cpu (0 GPUs); bf16-mixed works on it"

    (code / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (code / "params.yaml").write_text("broken")
    found = lines(machine.check_torch(code))
    assert found[1].startswith("warn device torch 2.")
    assert way_out(found[1]).startswith("pip uninstall -y torch torchvision && grep -vE ")

    text = (ROOT / "params.yaml").read_text()
    (code / "params.yaml").write_text(text.replace("accelerator: auto", "accelerator: cuda"))
    assert line(machine.check_torch(code), "device").startswith(
        "fail device params.yaml: hardware.accelerator: is cuda, but this machine has none; set it to auto or cpu; run: ${EDITOR:-nano} params.yaml"
    )


@pytest.mark.parametrize(
    ("torch", "expected"),
    [
        (
            "raise ImportError('libcudart.so.13: cannot open')",
            "fail torch cannot be imported: ImportError: libcudart.so.13: cannot open; run: ",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
            "fail torch Python was killed by SIGILL while importing torch; run: ",
        ),
        ("raise SystemExit(3)", "fail torch cannot be imported: exit status 3; run: "),
    ],
)
def test_a_broken_torch(torch: str, expected: str, code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code / "other").mkdir()
    (code / "other" / "torch.py").write_text(torch)
    monkeypatch.setenv("PYTHONPATH", str(code / "other"))
    assert line(machine.check_torch(code), "torch").startswith(expected)


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [
        (80e9, "ok disk 80.0 GB free in the repository"),
        (4.9e9, "warn disk only 4.9 GB free in the repository; run: clean"),
        (4e8, "fail disk only 400.0 MB free in the repository; run: clean"),
    ],
)
def test_disk(num_bytes: float, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=num_bytes))
    assert line(machine.check_disk(tmp_path, "disk", [tmp_path / "not yet" / "made"], "clean"), "disk") == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is what nobody may write to")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/proc")
    found = line(machine.check_disk(tmp_path, "disk", [tmp_path, tmp_path / "data" / "raw"], "clean"), "disk")
    assert found.startswith("fail disk data is not writable; run: ")
    assert found.endswith(" data")
