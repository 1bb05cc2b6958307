"""Signals that ask a command to end."""

import signal
from types import FrameType
from typing import NoReturn

from darkroom.base.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def interrupt(number: int, _: FrameType | None) -> NoReturn:
    """Raise Interrupted where the main thread is."""
    raise Interrupted(number)
