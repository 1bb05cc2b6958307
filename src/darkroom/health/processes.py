"""Other processes of this machine: whether one is alive, its parent, whether a file is locked."""

import fcntl
import os
from pathlib import Path
from typing import Literal

# Clocks may be adjusted between two readings.
SLACK_SECONDS = 60.0


def is_alive(pid: int, written: float) -> bool:
    """Return whether the process that wrote something at a time is alive; one that started later only has the same number."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass  # another user's
    except (OSError, OverflowError):
        return False
    fields = _status(pid)
    if not fields:
        return True  # no /proc here, so only the number is known
    return fields[0] != "Z" and _started(fields) <= written + SLACK_SECONDS


def parent(pid: int) -> int | None:
    """Return the number of the parent process; None without /proc."""
    fields = _status(pid)
    return int(fields[1]) if fields else None


def is_locked(path: Path, kind: Literal["fcntl", "flock"]) -> bool:
    """Return whether another process holds a lock file; tested with a shared lock that is released at once."""
    lock = fcntl.lockf if kind == "fcntl" else fcntl.flock
    with path.open("rb") as file:
        try:
            lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _status(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third on: state, parent, …; none without such a file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _started(fields: list[str]) -> float:
    booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
    # Field 22 of proc_pid_stat(5) is the start time in clock ticks since boot.
    return float(booted.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
