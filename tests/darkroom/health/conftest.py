"""Fixtures of the doctor's checks: a small repository, a process that has ended."""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from repositories import shell

from darkroom.base import files
from darkroom.health import checks, dvc_setup, findings, installation, leftovers, locks, machine, processes, repository
from darkroom.health.findings import Check, Finding

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _fresh_settings() -> None:
    dvc_setup.read_settings.cache_clear()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A repository with this one's settings and a commit."""
    for name in ("params.yaml", "dvc.yaml", "requirements.txt", ".dvc/config", ".dvc/plots_page.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("print('train')\n")
    shell(
        "git init -q && git config user.name Tester && git config user.email t@localhost && git add -A && git commit -qm Start",
        tmp_path,
    )
    return tmp_path


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid
