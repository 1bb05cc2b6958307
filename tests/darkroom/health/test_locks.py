"""Checks of processes and locks."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from findings_of import HOLD_STAGE, held, line, lines, way_out
from repositories import shell

from darkroom.health import locks, processes

ROOT = Path(__file__).resolve().parents[3]
SRC = ROOT / "src"


def test_processes(dead: int) -> None:
    assert processes.is_alive(os.getpid(), time.time())
    assert not any(processes.is_alive(pid, time.time()) for pid in (0, -1, dead, 2**80))
    if sys.platform == "linux":
        assert not processes.is_alive(os.getpid(), time.time() - 1e7), "it has only got the number"
        assert processes.parent(os.getpid()) == os.getppid()
        with subprocess.Popen(["true"]) as zombie:
            os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
            assert not processes.is_alive(zombie.pid, time.time())


def rwlock(workspace: Path, *pids: int) -> str:
    path = workspace / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"read": {f"/data/{pid}": [{"pid": pid, "cmd": "dvc repro"}] for pid in pids}}))
    return line(locks.check_dvc_locks(workspace, hardlink=False), "dvc rwlock")


def test_dvc_rwlock(workspace: Path, dead: int) -> None:
    assert len(lines(locks.check_dvc_locks(workspace, hardlink=False))) == 1
    assert rwlock(workspace) == "ok dvc rwlock free"
    assert rwlock(workspace, os.getpid()) == f"ok dvc rwlock in use by process {os.getpid()} (dvc repro)"
    assert rwlock(workspace, dead, os.getpid()) == f"ok dvc rwlock in use by process {os.getpid()} (dvc repro)"
    found = rwlock(workspace, dead)
    assert found == f"warn dvc rwlock left over by process {dead}, which has ended (dvc repro); run: rm -rf .dvc/tmp/rwlock"
    for damage in ("{", "[]", '{"read": 1}', '{"write": {"a": 1}}'):
        (workspace / ".dvc" / "tmp" / "rwlock").write_text(damage)
        found = line(locks.check_dvc_locks(workspace, hardlink=False), "dvc rwlock")
        assert found == "fail dvc rwlock .dvc/tmp/rwlock is damaged: DVC will not run; run: rm -rf .dvc/tmp/rwlock"


def dvc_lock(workspace: Path, *, hardlink: bool = False) -> str:
    return line(locks.check_dvc_locks(workspace, hardlink=hardlink), "dvc lock")


def test_dvc_lock(workspace: Path, dead: int) -> None:
    path = workspace / ".dvc" / "tmp" / "lock"
    path.parent.mkdir()
    assert dvc_lock(workspace) == "ok dvc lock free"
    path.write_text(f" {dead}\n")
    assert dvc_lock(workspace) == "ok dvc lock free"
    with held(
        "import time, zc.lockfile; lock = zc.lockfile.LockFile(sys.argv[1]); print(flush=True); time.sleep(60)", path
    ) as holder:
        assert dvc_lock(workspace) == f"ok dvc lock in use by process {holder.pid}"
        assert dvc_lock(workspace, hardlink=True) == f"ok dvc lock in use by process {holder.pid}"


def test_dvc_lock_by_hard_link(workspace: Path, dead: int) -> None:
    path = workspace / ".dvc" / "tmp" / "lock"
    path.parent.mkdir()
    assert dvc_lock(workspace, hardlink=True) == "ok dvc lock free"
    path.write_text(f" {dead}\n")
    found = dvc_lock(workspace, hardlink=True)
    assert found.startswith("warn dvc lock is left over, or held by an unknown process; if no dvc is running; run: rm -f ")
    shell(way_out(found), workspace)
    assert dvc_lock(workspace, hardlink=True) == "ok dvc lock free"


def test_a_running_stage(workspace: Path) -> None:
    path = workspace / ".dvc" / "tmp" / "darkroom.lock"
    assert lines(locks.check_stages(workspace)) == ["ok stages none running"]
    with held(f"exec({HOLD_STAGE!r})", path) as holder:
        found = line(locks.check_stages(workspace), "stages")
        assert found.startswith("ok stages train has been running since 20")
        assert f"(process {holder.pid} on " in found
        path.write_text("")
        assert lines(locks.check_stages(workspace)) == ["ok stages one is starting"]
    path.write_text('{"stage": "train", "pid": 1}')
    assert lines(locks.check_stages(workspace)) == ["ok stages none running"], "nobody holds it"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell who started what")
def test_an_orphaned_stage(workspace: Path) -> None:
    (workspace / "hold.py").write_text(HOLD_STAGE)
    folder = ".dvc/tmp/exps/standalone/tmpabc"
    command = f"PYTHONPATH={SRC} {sys.executable} hold.py {folder}/.dvc/tmp/darkroom.lock & read _"
    with subprocess.Popen(
        ["bash", "-c", command], cwd=workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert line(locks.check_stages(workspace), "stages").startswith(f"ok stages train has been running in {folder} since")
        parent.kill()
        parent.wait()
        found = line(locks.check_stages(workspace), "stages")
        assert found.startswith("warn stages train has been running in ")
        assert "but the DVC that started it has ended; run: kill " in found
        shell(way_out(found), workspace)
        deadline = time.monotonic() + 10
        while lines(locks.check_stages(workspace)) != ["ok stages none running"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
