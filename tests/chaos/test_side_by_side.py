"""Trainings side by side share .resume: whatever one does there while another one is stopped, none fails, none loses its states.

Of two processes the first is stopped (SIGSTOP) at one place after the other, wherever it opens, lists, makes or removes a file of
.resume; there the second one runs to its end, or until it waits for the first. So every window between two steps is tried, and each
case is the same every time.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.stage.lock import HELD
from darkroom.stage.state_files import EPOCH_OVER, FINISHED, forget_finished
from darkroom.training.checkpoints.saved_states import StateStore

pytestmark = pytest.mark.slow
EVENTS = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree"}
MOST_PLACES = 400
# After this the second process is taken to wait for the stopped one.
WAIT_SECONDS = 0.5
OLD = 8
FAILED, BUSY = 3, 4
Action = Callable[[Path], None]


def store_of(root: Path, name: str) -> StateStore:
    return StateStore(root / ".resume", {"name": name})


def train(name: str) -> Action:
    """Return an action: a training that is interrupted after an epoch."""

    def act(root: Path) -> None:
        store = store_of(root, name)
        with store.held():
            store.latest()
            weights = store.save_weights(1, {"layer": torch.zeros(2)})
            store.save({"weights": [weights]}, step=5, phase=EPOCH_OVER, weights=[weights])

    return act


def finish(root: Path, name: str) -> None:
    """Let a training be finished and published, as the stage train does before evaluate runs."""
    store = store_of(root, name)
    with store.held():
        weights = store.save_weights(2, {"layer": torch.ones(2)})
        store.save({"weights": [weights]}, step=9, phase=FINISHED, weights=[weights])
    (root / f"{name}.json").write_text(json.dumps({"state": store.folder.name}))


def evaluate(name: str) -> Action:
    """Return an action: the stage evaluate of the workspace that has published this training."""
    return lambda root: forget_finished(root / ".resume", root / f"{name}.json")


def in_child(action: Action, root: Path, stop_at: int | None = None) -> int:
    """Start an action in a process of its own that stops itself at the n-th step in .resume; return its number."""
    child = os.fork()
    if child:
        return child
    status = FAILED
    try:
        if stop_at is not None:
            sys.addaudithook(stopping(str(root / ".resume"), stop_at))
        action(root)
        status = 0
    except BaseException as error:  # of any kind: it is what the test is about
        status = BUSY if HELD in str(error) else FAILED
        (root / f"failed-{os.getpid()}").write_text(f"{type(error).__name__}: {error}")
    finally:
        os._exit(status)


def stopping(place: str, number: int) -> Callable[[str, tuple[Any, ...]], None]:
    left = number

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in EVENTS and any(str(each).startswith(place) for each in arguments[:2]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGSTOP)

    return hear


def ended(child: int, seconds: float) -> int | None:
    """Return the exit status of a process, None if it still runs after this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def prepared(root: Path) -> None:
    """Make a finished training `x`, and old ones that whoever trains removes."""
    finish(root, "x")
    for number in range(OLD):
        finish(root, f"old{number}")
        folder = store_of(root, f"old{number}").folder
        for path in (folder, *folder.iterdir()):
            os.utime(path, (1e9 + number, 1e9 + number))


def run_both(root: Path, first: Action, second: Action, stop_at: int) -> tuple[bool, list[int | None]]:
    """Run both actions, the second one while the first is stopped; return whether that was so, and how they ended."""
    prepared(root)
    stopped = in_child(first, root, stop_at)
    _, status = os.waitpid(stopped, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        return False, [os.waitstatus_to_exitcode(status)]
    other = in_child(second, root)
    result = ended(other, WAIT_SECONDS)
    os.kill(stopped, signal.SIGCONT)
    results = [ended(stopped, 60), result if result is not None else ended(other, 60)]
    return True, results


PAIRS = {
    "a training and the evaluation of another": (train("y"), evaluate("x")),
    "an evaluation and another training": (evaluate("x"), train("y")),
    "an evaluation and the same training": (evaluate("x"), train("x")),
    "the same training and the evaluation": (train("x"), evaluate("x")),
    "two evaluations": (evaluate("x"), evaluate("x")),
    "two trainings": (train("y"), train("z")),
    "the same training twice": (train("y"), train("y")),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.thorough) for part in range(1, 8))])
def test_no_window_between_two_steps_costs_a_training(tmp_path: Path, pair: str, part: int) -> None:
    first, second = PAIRS[pair]
    num_stopped = 0
    for stop_at in range(part + 1, MOST_PLACES, 8):
        root = tmp_path / str(stop_at)
        root.mkdir()
        was_stopped, results = run_both(root, first, second, stop_at)
        told = [path.read_text() for path in root.glob("failed-*")]
        allowed = {0, BUSY} if "same" in pair else {0}
        assert set(results) <= allowed, (stop_at, results, told)
        if not was_stopped:
            break
        for name in ("y", "z"):
            if any(name in cell for cell in _names(first, second)) and BUSY not in results:
                latest = store_of(root, name).latest()
                assert latest is not None, (stop_at, name)
                assert latest["weights"], (stop_at, name)
        num_stopped += 1
    else:
        raise AssertionError("it never ran to its end without a stop")
    assert num_stopped > 0 or part > 0


def _names(*actions: Action) -> list[str]:
    """Return the trainings that these actions leave unfinished."""
    return [cell.cell_contents for action in actions if action.__name__ == "act" for cell in action.__closure__ or ()]
