"""Signals that ask a command to end."""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVar

from darkroom.base.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
Result = TypeVar("Result")


def interrupt(number: int, _: FrameType | None) -> NoReturn:
    """Raise Interrupted where the main thread is."""
    raise Interrupted(number)


def interruptible(work: Callable[[], Result]) -> Result:
    """Return what `work` returns, so that a signal ends the wait for it.

    Python handles signals in the main thread, between two of its own instructions: code in C that decodes an image would hold it
    for seconds. There the work is done in a thread of its own (in 0.1 ms more), which is left behind when a signal comes.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or multiprocessing.parent_process() is not None:
        return work()
    results: list[Result] = []
    errors: list[BaseException] = []
    is_done = threading.Event()

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            is_done.set()

    threading.Thread(target=run, daemon=True).start()
    is_done.wait()
    if errors:
        raise errors[0]
    return results[0]
