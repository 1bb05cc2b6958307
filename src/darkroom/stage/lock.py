"""A lock file that says who holds it."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from darkroom import files, paths
from darkroom.errors import RunError, warn
from darkroom.stage.orphans import end, is_orphan, is_untold_orphan

# How long an orphan may take to save its state and go.
ORPHAN_SECONDS = 30.0
# In the error of a lock that is held; a search recognises it by this.
HELD = "is running here"


@contextmanager
def locked(path: Path, name: str, *, patient: bool = True, of_workspace: bool = False) -> Iterator[None]:
    """Hold a lock file that says who holds it; the system frees the lock of a process that dies, however it dies.

    In the lock of a workspace an orphan that does not know that it is one is asked to end.

    Raises
    ------
    RunError
        Naming the process that holds it. One whose DVC was killed is given the time to save its state and go.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + ORPHAN_SECONDS
        waited = False
        while not _try_lock(file):
            holder = _read_holder(file)
            untold = of_workspace and is_untold_orphan(holder, name)
            if not (patient and (untold or is_orphan(holder))) or time.monotonic() > deadline:
                raise RunError(_busy(holder, path))
            # Who has just begun has not said yet who it is.
            if holder and not waited:
                warn(f"{paths.shown(path)}: waiting for {_who(holder)}, which was left behind, to save its state and end")
                if untold:
                    end(holder["pid"])
            waited = waited or bool(holder)
            time.sleep(0.2)
        file.truncate(0)
        about = {
            "stage": name,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "by_dvc": "DVC_STAGE" in os.environ,
            "host": socket.gethostname(),
            "since": time.time(),
        }
        # Not by way of a buffer, which would be tried once more, without a name in the error, when the file is closed.
        with files.naming(path):
            os.write(file.fileno(), json.dumps(about).encode())
        yield
        file.truncate(0)


def _try_lock(file: IO[str]) -> bool:
    try:
        # Unlike flock's, these locks are not handed on to forked workers, which may outlive this process for a while.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read_holder(file: IO[str]) -> dict[str, Any]:
    file.seek(0)
    try:
        holder: dict[str, Any] = json.loads(file.read())
    except ValueError:  # it has the lock, but has not written yet
        holder = {}
    return holder


def _who(holder: dict[str, Any]) -> str:
    if not holder:
        return "a stage that has just begun"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    return f"the stage {holder['stage']} (process {holder['pid']} on {holder['host']}, since {since})"


def _busy(holder: dict[str, Any], path: Path) -> str:
    way_out = f"wait for it, or end it with 'kill {holder['pid']}'" if holder else "wait for it"
    return f"{paths.shown(path)}: {_who(holder)} {HELD}; {way_out}"
