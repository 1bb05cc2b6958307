"""The minutes that a search may take: what is left of them, and the end of a training that takes longer than it should."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from darkroom.base.signals import none_missed

# A training is expected to take this much longer than its first steps promise, and is ended when the time is over.
MARGIN = 1.15


class OutOfTime(BaseException):
    """The stated minutes are over within a training; not an Exception, which libraries catch."""


class Clock:
    """Counts seconds down.

    Parameters
    ----------
    seconds
        In all.
    begun
        Value of `time.monotonic()` when they began; None: now.
    """

    def __init__(self, seconds: float, begun: float | None = None):
        self.seconds = seconds
        self.begun = time.monotonic() if begun is None else begun

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds that are left, negative once the time is over."""
        return self.seconds - self.elapsed

    def allows(self, seconds: float) -> bool:
        """Return whether what is expected to take so many seconds can be finished."""
        return seconds * MARGIN <= self.left

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Raise OutOfTime within the block once the time is over."""

        def end(_: int, __: FrameType | None) -> NoReturn:
            raise OutOfTime

        before = signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, max(self.left, 0.01))
        try:
            with none_missed():
                yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
