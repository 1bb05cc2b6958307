"""Processes whose parent died (DVC, or the main process of a training): finding them, and ending them."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from darkroom.base.errors import MAIN_PROCESS, is_main_process

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def is_orphan(holder: dict[str, Any]) -> bool:
    """Return whether the process that holds a lock lost its parent; True as well if it is unknown or has just died."""
    if holder.get("host") != socket.gethostname():
        return not holder
    try:
        return bool(psutil.Process(holder["pid"]).ppid() != holder["parent"])
    except psutil.NoSuchProcess:
        return True


def missed_death_of_dvc(holder: dict[str, Any], name: str) -> bool:
    """Return whether the holder's DVC died before the holder called `die_with_parent`.

    DVC runs one stage of a workspace at a time: if it runs this one, the DVC that ran the same stage before is dead.
    """
    ours = holder.get("host") == socket.gethostname() and holder["stage"] == name
    return ours and bool(holder.get("by_dvc")) and "DVC_STAGE" in os.environ


def end(pid: int) -> None:
    """Ask a process to end, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def die_with_parent() -> None:
    """Receive SIGTERM when the DVC that started this stage dies, rather than run on while the next DVC runs the stage again.

    A process that trains beside the main one is killed (SIGKILL) with it: it has nothing to save, and may wait for it for ever.
    """
    if not ({"DVC_STAGE", "LOCAL_RANK"} & set(os.environ)) or sys.platform != "linux":
        return
    parent, number = os.getppid(), signal.SIGTERM
    if not is_main_process():
        # The main process may have died before this one could look up its parent.
        parent, number = int(os.environ.get(MAIN_PROCESS, parent)), signal.SIGKILL
    following(parent, number)()


def following(parent: int, number: int) -> Callable[[], None]:
    """Return a function that has its process receive a signal when `parent` dies (Linux); calling it imports nothing."""
    prctl = ctypes.CDLL(None).prctl

    def follow() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), number)

    return follow
