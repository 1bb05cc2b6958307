"""Signals that ask a command to end."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TypeVar

from darkroom.base.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
# How long a wait for images may last once a signal came, and how often that is looked at.
MOST_WAITED, LOOKED_AT = 1.0, 0.5
Result = TypeVar("Result")
_waiting_since: list[float] = []


def interrupt(number: int, _: FrameType | None) -> NoReturn:
    """Raise Interrupted where the main thread is."""
    raise Interrupted(number)


@contextmanager
def none_missed() -> Iterator[None]:
    """Raise Interrupted after the block if a signal came within it that ended nothing.

    Between its last step and its end a training has handlers that wait for a next step. It is over then, but not what calls it.
    """
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
        with suppress(BlockingIOError):
            for number in os.read(reader, 4096):
                if number in SIGNALS:
                    raise Interrupted(number)
    finally:
        signal.set_wakeup_fd(before)
        os.close(reader)
        os.close(writer)


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


@contextmanager
def waiting() -> Iterator[None]:
    """Mark that the main thread waits for images, which `end_waiting` may end."""
    _waiting_since.append(time.monotonic())
    try:
        yield
    finally:
        _waiting_since.pop()


def end_waiting(number: int) -> None:
    """Send a signal once more as soon as the main thread waits for images for a second, which is when its handler has to end it.

    So a training ends after its step if that goes on, and at once if images take long to decode. Once another handler is in its
    place, as at the end of the training, nothing is sent.
    """
    handler, main = signal.getsignal(number), threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        while signal.getsignal(number) == handler:
            if _waiting_since and time.monotonic() - _waiting_since[-1] > MOST_WAITED:
                signal.pthread_kill(main, number)
                return
            time.sleep(LOOKED_AT)

    threading.Thread(target=watch, daemon=True).start()
