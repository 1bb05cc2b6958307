"""Threads of OpenMP sleep soon when they wait: the environment says so before any of a command's imports loads OpenMP."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from darkroom.base.threads import CHOICES, SPIN_COUNT

SRC = Path(__file__).resolve().parents[3] / "src"
STAGES = ("check", "download", "split", "train", "evaluate", "predict")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is GNU's OpenMP, and /proc, that are looked at")


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in CHOICES} | variables
    code = f"import os, sys; sys.path.insert(0, {str(SRC)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)


def is_loaded(imports: str) -> bool:
    return run(f"{imports}; print('libgomp' in open('/proc/self/maps').read())").stdout == "True\n"


def test_no_command_loads_openmp_before_the_environment_is_set() -> None:
    assert not is_loaded(f"import {', '.join(STAGES)}, darkroom.cli, darkroom.base.command")


@pytest.mark.slow
def test_a_loaded_openmp_is_seen() -> None:
    assert is_loaded("import torch")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, f"GOMP_SPINCOUNT = '{SPIN_COUNT}'"),
        ({"GOMP_SPINCOUNT": "7"}, "GOMP_SPINCOUNT = '7'"),
        ({"OMP_WAIT_POLICY": "passive"}, "GOMP_SPINCOUNT = '0'"),
    ],
)
def test_openmp_takes_it_unless_the_user_chose(variables: dict[str, str], told: str) -> None:
    (library,) = Path(str(find_spec("torch").origin)).parent.glob("lib/libgomp*")  # type: ignore[union-attr]
    code = f"from darkroom.base.command import run_command\nrun_command(lambda: __import__('ctypes').CDLL({str(library)!r}))"
    assert told in run(code, OMP_DISPLAY_ENV="VERBOSE", **variables).stderr
