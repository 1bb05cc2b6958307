"""A DVC that a search starts: its folder, environment, log, status and signals, and that it dies with the search."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkroom.experiments.runs import SRC, start_dvc

pytestmark = pytest.mark.slow
STAGES = "stages:\n  say: {cmd: 'echo $MARK in $(pwd)'}\n  fail: {cmd: exit 3}\n  wait: {cmd: touch begun && sleep 60}\n"
ENV = {name: value for name, value in os.environ.items() if not name.startswith("DVC")}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    for command in ("git init --quiet .", f"{sys.executable} -m dvc init --quiet", "git add -A"):
        subprocess.run(command.split(), cwd=folder, check=True, env=ENV)
    (folder / "dvc.yaml").write_text(STAGES)
    return folder


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runs_have_their_own_folder_environment_log_and_status(repository: Path, tmp_path: Path) -> None:
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    logs[0].write_text("before\n")
    for log, mark in zip(logs, ("first", "second"), strict=True):
        process = start_dvc(["repro", "--force", "say"], folder=repository, env=ENV | {"MARK": mark}, log=log)
        assert process.wait() == 0
        assert process.wait() == 0
        assert f"{mark} in {repository}\n" in log.read_text()
    assert logs[0].read_text().startswith("before\n")
    failed = start_dvc(["repro", "fail"], folder=repository, env=ENV, log=logs[0])
    assert failed.wait() == 255
    assert "exited with 3" in logs[0].read_text()
    assert "MARK" not in os.environ


@pytest.mark.thorough
def test_a_signal_ends_the_run_alone(repository: Path, tmp_path: Path) -> None:
    process = start_dvc(["repro", "wait"], folder=repository, env=ENV, log=tmp_path / "log")
    wait_for(repository / "begun")
    assert os.getpgid(process.pid) == process.pid != os.getpgid(0)
    process.terminate()
    assert process.wait() == -signal.SIGTERM
    os.killpg(process.pid, signal.SIGKILL)  # its stage
    process.terminate()  # nothing is left to be told
    assert start_dvc(["repro", "--force", "say"], folder=repository, env=ENV, log=tmp_path / "log").wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process that its parent has died")
def test_the_run_dies_with_the_search(repository: Path, tmp_path: Path) -> None:
    code = (
        "import json, os, sys, time; from pathlib import Path; from darkroom.experiments.runs import start_dvc\n"
        f"run = start_dvc(['repro', 'wait'], folder=Path({str(repository)!r}), env=dict(os.environ), log=Path('log'))\n"
        "print(run.pid, flush=True); time.sleep(60)"
    )
    search = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=ENV | {"PYTHONPATH": str(SRC)}, stdout=subprocess.PIPE, text=True
    )
    assert search.stdout is not None
    pid = int(search.stdout.readline())
    wait_for(repository / "begun")
    search.kill()
    search.communicate()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
