"""The time that a search may take."""

import signal
import time

import pytest

from darkroom.model_choice.clock import Clock, OutOfTime


def test_what_cannot_be_finished_is_not_allowed() -> None:
    clock = Clock(100, time.monotonic() - 50)
    assert clock.allows(40)
    assert not clock.allows(45), "a training may take longer than its first steps promise"
    assert not clock.allows(60)
    assert 49 < clock.left <= 50 <= clock.elapsed < 51


def test_a_block_ends_when_the_time_is_over() -> None:
    before, begun = signal.getsignal(signal.SIGALRM), time.monotonic()
    with pytest.raises(OutOfTime), Clock(0.2).limited():
        time.sleep(5)
    assert time.monotonic() - begun < 3
    assert signal.getsignal(signal.SIGALRM) is before
    with Clock(60).limited():
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
