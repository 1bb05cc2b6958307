"""A signal ends the wait for what C code does, in the main thread too; a training's waits end after a moment."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from darkroom.base import signals
from darkroom.base.errors import Interrupted
from darkroom.base.signals import end_waiting, interrupt, interruptible, none_missed, waiting


@pytest.fixture
def _handlers() -> Iterator[None]:
    old = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, old)


def test_results_and_errors_come_back() -> None:
    assert interruptible(lambda: threading.current_thread() is not threading.main_thread())
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)


@pytest.mark.usefixtures("_handlers")
def test_a_signal_ends_the_wait_in_the_main_thread() -> None:
    signal.signal(signal.SIGUSR1, interrupt)
    ended = threading.Event()  # as code in C that cannot be interrupted
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted):
        interruptible(lambda: ended.wait(30))
    assert time.monotonic() - begun < 5
    ended.set()


@pytest.mark.usefixtures("_handlers")
def test_a_long_wait_for_images_is_ended_and_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "MOST_WAITED", 0.1)
    monkeypatch.setattr(signals, "LOOKED_AT", 0.02)
    signal.signal(signal.SIGUSR1, interrupt)
    end_waiting(signal.SIGUSR1)
    time.sleep(0.3)  # a step
    with waiting():
        time.sleep(0.03)  # images come soon
    with pytest.raises(Interrupted, match="interrupted by SIGUSR1"), waiting():
        time.sleep(10)


@pytest.mark.usefixtures("_handlers")
def test_nothing_is_sent_to_another_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a training: by default the signal would be the end of the process."""
    monkeypatch.setattr(signals, "MOST_WAITED", 0.0)
    monkeypatch.setattr(signals, "LOOKED_AT", 0.1)
    signal.signal(signal.SIGUSR1, interrupt)
    end_waiting(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    with waiting():
        time.sleep(0.3)


def test_a_signal_that_ended_nothing_is_heard_afterwards() -> None:
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with pytest.raises(Interrupted) as raised, none_missed():  # noqa: PT012 (it is raised at the end)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        assert raised.value.number == signal.SIGINT
        with none_missed():
            pass
    finally:
        signal.signal(signal.SIGINT, before)
