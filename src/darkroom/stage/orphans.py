"""Processes whose DVC, or whose main process, died: they are found, and asked to end."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from darkroom.errors import MAIN_PROCESS, is_main_process

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def is_orphan(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return not holder
    try:
        parent = int(Path(f"/proc/{holder['pid']}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return not Path(f"/proc/{holder['pid']}").exists() and Path("/proc/self").exists()
    return bool(parent != holder["parent"])


def is_untold_orphan(holder: dict[str, Any], name: str) -> bool:
    """Return whether the holder's DVC died before the holder could ask to be told (see `die_with_parent`).

    In a workspace DVC lets nobody else run a stage while it does: where it runs this one, the DVC that ran it before is gone.
    """
    ours = holder.get("host") == socket.gethostname() and holder["stage"] == name
    return ours and bool(holder.get("by_dvc")) and "DVC_STAGE" in os.environ


def end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def die_with_parent() -> None:
    """Be told to end (SIGTERM) when the DVC that started this stage dies, instead of running on beside the next one.

    A process that trains beside the main one is killed with it: it has nothing to save, and may wait for the dead for ever.
    """
    if not ({"DVC_STAGE", "LOCAL_RANK"} & set(os.environ)) or sys.platform != "linux":
        return
    parent, number = os.getppid(), signal.SIGTERM
    if not is_main_process():
        # Where the main process has started it, that may have failed before this one was able to look.
        parent, number = int(os.environ.get(MAIN_PROCESS, parent)), signal.SIGKILL
    following(parent, number)()


def following(parent: int, number: int) -> Callable[[], None]:
    """Return what lets a process that calls it be sent a signal when its parent dies, on Linux; it loads nothing by then."""
    prctl = ctypes.CDLL(None).prctl

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before it could be asked for
            os.kill(os.getpid(), number)

    return follow
