"""Memory that is freed stays with the process, for the next step to use."""

import ctypes
import sys

# Of malloc.h of the GNU C library.
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Let the C library keep what is freed, until the process ends; where it cannot be told to, nothing happens.

    What a network's layers make is large. The GNU C library asks the system for such memory and gives it back each time, and the
    system clears every page of it anew: on a CPU a tenth to a quarter of a training step.

    References
    ----------
    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)
