"""Free memory, and keeping freed memory in the process for the next step."""

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

# From malloc.h of the GNU C library.
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let the GNU C library keep freed memory until the process ends; without effect on other systems.

    The outputs of a network's layers are large. The library requests such memory from the system and returns it each time, and
    the system clears every page again, which takes an eighth to a sixth of a training step on a CPU (docs/benchmarks.md).

    References
    ----------
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)


def free_memory(groups: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process may still use, of the machine or of the limit of a container or scheduler.

    `groups` and `mount` are the paths of the control groups of Linux.

    References
    ----------
    https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files, and cgroup-v1/memory.html beside it
    """
    free: int = psutil.virtual_memory().available
    try:
        return max(0, min([free, *_left(groups, mount)]))
    except (OSError, ValueError):  # unknown formats of control groups
        return free


def _left(groups: Path, mount: Path) -> Iterator[int]:
    """Yield the bytes left in each control group of this process that has a limit."""
    lines = groups.read_text().splitlines() if groups.is_file() else []
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if not controllers:
            root, limit, used, cache = mount, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, used, cache = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # In a container, the path may not be below the mounted root; then one of its parents is.
        for level in (PurePosixPath(path), *PurePosixPath(path).parents):
            folder = root / str(level).lstrip("/")
            if (folder / used).is_file() and (at_most := (folder / limit).read_text().strip()) != "max":
                counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                # The cache of files is freed when memory is short.
                yield int(at_most) - int((folder / used).read_text()) + int(counts.get(cache, 0))
