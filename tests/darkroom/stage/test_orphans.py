"""A process whose parent died is recognised, and a stage ends when the DVC that started it dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import MAIN_PROCESS
from darkroom.stage import orphans
from darkroom.stage.orphans import die_with_parent, end, is_orphan, missed_death_of_dvc

SRC = Path(__file__).resolve().parents[3] / "src"


def test_a_stage_ends_when_its_dvc_is_killed(tmp_path: Path) -> None:
    code = (
        f"import os, sys, time; sys.path.insert(0, {str(SRC)!r})\nfrom darkroom.stage.orphans import die_with_parent\n"
        "die_with_parent(); print(os.getpid(), flush=True); time.sleep(60)"
    )
    script = tmp_path / "stage.py"
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run([{sys.executable!r}, {str(script)!r}])"],
        env=os.environ | {"DVC_STAGE": "train"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    pid = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


def test_who_is_an_orphan() -> None:
    here = {"host": socket.gethostname(), "pid": os.getpid(), "parent": os.getppid()}
    assert not is_orphan(here)
    assert is_orphan(here | {"parent": os.getppid() + 1})
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert is_orphan(here | {"pid": process.pid})
    assert not is_orphan(here | {"host": "elsewhere", "pid": process.pid})
    assert is_orphan({})


@pytest.mark.parametrize(
    ("changes", "by_dvc", "missed"),
    [
        ({}, True, True),
        ({"stage": "split"}, True, False),
        ({"host": "elsewhere"}, True, False),
        ({"by_dvc": False}, True, False),
        ({}, False, False),
    ],
    ids=["same stage", "another stage", "another machine", "started by hand", "this one by hand"],
)
def test_a_stage_that_dvc_runs_twice_has_lost_its_first_dvc(
    changes: dict[str, Any], by_dvc: bool, missed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if by_dvc:
        monkeypatch.setenv("DVC_STAGE", "train")
    holder = {"host": socket.gethostname(), "stage": "train", "by_dvc": True}
    assert missed_death_of_dvc(holder | changes, "train") == missed


def test_a_process_is_asked_to_end_and_one_that_has_ended_is_no_error() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        end(process.pid)
        assert process.wait() == -signal.SIGTERM
    end(process.pid)


def test_a_parent_that_died_before_it_was_followed() -> None:
    """No signal would come any more."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(SRC)!r})\nfrom darkroom.stage.orphans import following\n"
        "import os, signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit('saves its state'))\n"
        "following(os.getppid() + 1, signal.SIGTERM)(); time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=30, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "saves its state\n")


@pytest.mark.parametrize(
    ("environment", "followed"),
    [
        ({}, []),  # by hand: closing the terminal tells it
        ({"DVC_STAGE": "train"}, [(os.getppid(), signal.SIGTERM)]),
        ({"DVC_STAGE": "train", "LOCAL_RANK": "1", MAIN_PROCESS: "42"}, [(42, signal.SIGKILL)]),
        ({"LOCAL_RANK": "1"}, [(os.getppid(), signal.SIGKILL)]),
        ({"LOCAL_RANK": "0"}, [(os.getppid(), signal.SIGTERM)]),
    ],
    ids=["by hand", "stage", "beside the main process", "beside another one", "first of several"],
)
def test_whom_a_process_follows(
    environment: dict[str, str], followed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What trains beside the main process may wait for it for ever, and would not come to a signal that it handles."""
    for name in ("DVC_STAGE", "LOCAL_RANK", MAIN_PROCESS):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(orphans, "following", lambda *who: lambda: found.append(who))
    die_with_parent()
    assert found == followed
