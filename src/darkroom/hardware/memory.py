"""The memory that is free, and what is freed, which stays with the process for the next step to use."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

# Of malloc.h of the GNU C library.
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, until the process ends; where it cannot be told to, nothing happens.

    What a network's layers make is large. The GNU C library asks the system for such memory and gives it back each time, and the
    system clears every page of it anew: on a CPU an eighth to a sixth of a training step (docs/benchmarks.md).

    References
    ----------
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)


def free_memory(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process may still take: of the machine, or of what a container or a scheduler leaves it.

    `groups` and `mount` are where Linux tells of that.

    References
    ----------
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files, and cgroup-v1/memory.html beside it
    """
    free: int = psutil.virtual_memory().available
    try:
        return max(0, min([free, *_left(groups, mount)]))
    except (OSError, ValueError):  # systems tell of it in other ways, too
        return free


def _left(groups: Path, mount: Path) -> Iterator[int]:
    """Yield what is left of the limit of each control group that this process is in."""
    lines = groups.read_text().splitlines() if groups.is_file() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:
            root, limit, used, cache = mount, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used, cache = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # What a container has for its root is somewhere further up.
        for level in (PurePosixPath(path), *PurePosixPath(path).parents):
            folder = root / str(level).lstrip("/")
            if (folder / used).is_file() and (at_most := (folder / limit).read_text().strip()) != "max":
                counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                # Pages of files are given back when memory is short.
                yield int(at_most) - int((folder / used).read_text()) + int(counts.get(cache, 0))
