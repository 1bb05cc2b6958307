"""A lock file that names the process that holds it, and is waited for only while that is an orphan."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from darkroom.base import files, paths
from darkroom.base.errors import RunError, warn
from darkroom.stage.orphans import end, is_orphan, missed_death_of_dvc

# Time for an orphan to save its state and end.
ORPHAN_SECONDS = 30.0
# In the error of a lock that is held; a search recognises it by this.
HELD = "is running here"


@contextmanager
def locked(path: Path, name: str, *, patient: bool = True, of_workspace: bool = False) -> Iterator[None]:
    """Hold a lock file that names this process; the system frees the lock of a process that dies, however it dies.

    A holder whose DVC was killed gets time to save its state and end; every other holder is an error.

    Parameters
    ----------
    path
        The lock file.
    name
        Name of the stage or command.
    patient
        Whether to wait for an orphan.
    of_workspace
        Whether this is the lock of a workspace, in which an orphan that has not noticed the death of its DVC is told to end.

    Raises
    ------
    RunError
        Naming the process that holds the lock.
    """
    is_held = False
    while not is_held:
        with _open(path) as file:
            is_held = _acquired(file, path, name, patient=patient, of_workspace=of_workspace)
            if is_held:
                _write_holder(file, path, name)
                yield
                file.truncate(0)


def _write_holder(file: IO[str], path: Path, name: str) -> None:
    file.truncate(0)
    about = {
        "stage": name,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "by_dvc": "DVC_STAGE" in os.environ,
        "host": socket.gethostname(),
        "since": time.time(),
    }
    # Unbuffered: a failed write would be repeated when the file is closed, in an error that names no file.
    with files.naming(path):
        os.write(file.fileno(), json.dumps(about).encode())


def _open(path: Path) -> IO[str]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process has just removed the folder
            return path.open("a+", encoding="utf-8")


def _acquired(file: IO[str], path: Path, name: str, *, patient: bool, of_workspace: bool) -> bool:
    """Wait for the lock; return whether its file is still in its place: whoever held it may have removed it with its folder."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    waited = False
    while not _try_lock(file):
        holder = _read_holder(file)
        unaware = of_workspace and missed_death_of_dvc(holder, name)
        if not (patient and (unaware or is_orphan(holder))) or time.monotonic() > deadline:
            raise RunError(_busy(holder, path))
        # A process that has just locked the file has not written its name yet.
        if holder and not waited:
            warn(f"{paths.shown(path)}: waiting for {_who(holder)}, whose DVC was killed, to save its state and end")
            if unaware:
                end(holder["pid"])
        waited = waited or bool(holder)
        time.sleep(0.2)
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _try_lock(file: IO[str]) -> bool:
    try:
        # Unlike locks of flock, these are not inherited by forked workers, which may outlive this process.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read_holder(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        holder: dict[str, Any] = json.loads(file.read())
    except ValueError:  # it holds the lock but has not written yet
        holder = {}
    return holder


def _who(holder: dict[str, Any]) -> str:
    if not holder:
        return "a stage that has just started"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    return f"the stage {holder['stage']} (process {holder['pid']} on {holder['host']}, since {since})"


def _busy(holder: dict[str, Any], path: Path) -> str:
    advice = f"wait for it, or end it with 'kill {holder['pid']}'" if holder else "wait for it"
    return f"{paths.shown(path)}: {_who(holder)} {HELD}; {advice}"
