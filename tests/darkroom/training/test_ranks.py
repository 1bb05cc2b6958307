"""What the watch of the processes of a training sees, and what it says; tests/chaos/test_ranks.py has whole trainings."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pytorch_lightning.strategies.launchers import subprocess_script

from darkroom.base.errors import Interrupted, RunError
from darkroom.training import ranks
from darkroom.training.ranks import STOPPED, RankWatch, _look_at, _look_at_child


@pytest.fixture
def process() -> Iterator[subprocess.Popen[Any]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as started:
        yield started
        started.kill()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What ended this process, which it does not do here; everything is a hundred times faster."""
    found: list[tuple[str, int]] = []
    monkeypatch.setattr(ranks, "fail", lambda *arguments: found.append(arguments))
    monkeypatch.setattr(ranks, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(ranks, "NOTICE_SECONDS", 0.3)
    return found


def becomes(look: ranks.Look, expected: str | None) -> bool:
    deadline = time.monotonic() + 10
    while look() != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return look() == expected


def test_what_is_seen_of_a_process(process: subprocess.Popen[Any]) -> None:
    child, other = _look_at_child(process), _look_at(process.pid)
    assert child() is None
    assert other() is None
    process.send_signal(signal.SIGSTOP)
    assert becomes(child, STOPPED)
    assert becomes(other, STOPPED)
    process.send_signal(signal.SIGCONT)
    assert becomes(other, None)
    process.kill()
    assert becomes(other, "has ended"), "also as long as nobody has read its status"
    assert becomes(child, "ended by signal 9")
    assert _look_at(process.pid)() == "has ended"


def test_a_child_may_end_well_and_not_otherwise() -> None:
    for status, expected in ((0, None), (3, "ended with status 3")):
        with subprocess.Popen([sys.executable, "-c", f"raise SystemExit({status})"]) as process:
            process.wait()
        assert _look_at_child(process)() == expected


@pytest.mark.parametrize(("status", "expected"), [(0, None), (3, "ended with status 3")])
def test_how_a_child_ended_while_it_was_looked_at_is_known(
    status: int, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ended well is no failure of the training."""
    with subprocess.Popen([sys.executable, "-c", f"input(); raise SystemExit({status})"], stdin=subprocess.PIPE) as process:

        def ends_and_looks(pid: int) -> ranks.Look:
            look = _look_at(pid)

            def looked() -> str | None:
                assert process.stdin
                process.stdin.write(b"\n")
                process.stdin.flush()
                assert becomes(look, "has ended")
                return look()

            return looked

        monkeypatch.setattr(ranks, "_look_at", ends_and_looks)
        assert _look_at_child(process)() == expected


def wait_until(told: list[Any], seconds: float = 10.0) -> list[Any]:
    deadline = time.monotonic() + seconds
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    return told


def test_one_that_died_ends_this_one(process: subprocess.Popen[Any], told: list[tuple[str, int]]) -> None:
    watch = RankWatch(seconds=25)
    # Lightning calls what stands there; under another name its own observer would kill this process without a word.
    subprocess_script._launch_process_observer([process])  # type: ignore[attr-defined]
    assert not wait_until(told, seconds=0.2)
    process.kill()
    assert wait_until(told) == [
        (
            "params.yaml: hardware.devices: one of 2 processes died or did not respond (rank 1 ended by signal 9); "
            "run the same command to resume",
            1,
        )
    ]
    watch.is_over.set()


@pytest.mark.parametrize("how", ["teardown", "interrupted"])
def test_all_end_together_and_this_one_last(process: subprocess.Popen[Any], told: list[tuple[str, int]], how: str) -> None:
    watch, nothing = RankWatch(seconds=25), SimpleNamespace()
    watch.watch_started([process])
    watch.on_exception(nothing, nothing, RunError("of this process"))  # type: ignore[arg-type]
    assert watch.is_watching, "the others may wait for ever"
    if how == "teardown":
        watch.teardown(nothing, nothing, "fit")  # type: ignore[arg-type]
    else:
        watch.on_exception(nothing, nothing, Interrupted(signal.SIGTERM))  # type: ignore[arg-type]
    process.kill()
    assert not wait_until(told, seconds=0.5)


def test_one_that_is_stopped_for_too_long(process: subprocess.Popen[Any], told: list[tuple[str, int]]) -> None:
    watch = RankWatch(seconds=0.5)
    watch.watch_started([process])
    process.send_signal(signal.SIGSTOP)
    assert not wait_until(told, seconds=0.2)
    assert "(rank 1 is stopped)" in wait_until(told)[0][0]
    assert process.wait() == -signal.SIGKILL, "it would not end by itself"


def test_the_main_process_is_watched_from_another(
    process: subprocess.Popen[Any], told: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("DARKROOM_MAIN_PROCESS", str(process.pid))
    watch = RankWatch(seconds=25)
    watch.setup(SimpleNamespace(world_size=2), SimpleNamespace(), "fit")  # type: ignore[arg-type]
    os.kill(process.pid, signal.SIGKILL)
    assert "(rank 0 has ended)" in wait_until(told)[0][0]
