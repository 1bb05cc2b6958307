"""A process whose parent died is recognised, and a stage ends when the DVC that started it dies."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from darkroom.stage.orphans import is_orphan

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
