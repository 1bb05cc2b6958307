"""Whatever is killed, at any instant, any number of times: the next `dvc repro` ends with the bits of an undisturbed run.

`make test` kills twice, `make test-all` 23 times, CHAOS=long 200 times.
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from clones import Clone, Finished, make_clone, outs

from darkroom.base.errors import InputError
from darkroom.base.yaml_file import read_yaml

pytestmark = pytest.mark.slow
MAX_CHAIN = 3
PARTS = 8
FIRST, SHORT, LONG = 2, 3, 25  # kills in the first part, in each other one, and in each of the long form
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# A stage that finds the one before still saving its state waits for it.
PATIENCE_SECONDS = 120


def kill_once(clone: Clone, numbers: random.Random, seconds: float) -> str | None:
    """Start `dvc repro` and kill it, with or without its stage, at a random instant; None if it was over before."""
    with (clone.path.parent / "log").open("a") as log:
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=clone.path,
            env=clone.cold().env,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(numbers.uniform(0, seconds))
            return None
        number, whom = numbers.choice(SIGNALS), numbers.choice(("dvc", "all", "stage"))
        stages = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        if whom == "all":
            os.killpg(process.pid, number)
        elif whom == "stage" and stages:
            subprocess.run(["kill", f"-{number}", *stages], check=False)
        else:
            process.send_signal(number)
        # DVC ignores SIGINT while a stage runs, and ends when the stage does.
        process.wait(PATIENCE_SECONDS)
    return f"{signal.Signals(number).name} to {whom}"


def check_recorded(clone: Clone, expected: dict[str, str], told: list[str]) -> None:
    """What dvc.lock records was finished: its outputs are those of the undisturbed run."""
    lock = clone.path / "dvc.lock"
    try:
        stages = read_yaml(lock)["stages"].values()
    except (InputError, TypeError, KeyError):
        return  # there is none yet, or DVC was killed while it wrote it, which it does in place
    recorded = {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", []) if "md5" in out}
    assert all(expected[path].startswith(md5) for path, md5 in recorded.items()), told


def finish(clone: Clone) -> int:
    """Run what is left, and return how many of DVC's own files had to be repaired with the commands of `./darkroom doctor`.

    DVC writes dvc.lock and .dvc/tmp/rwlock in place, and can read neither if it was killed meanwhile.
    """
    done = clone.run("dvc repro", status=None)
    repaired = 0
    if done.returncode != 0:
        findings = clone.run("./darkroom doctor", status=None).stdout.splitlines()
        failures = [line for line in findings if line.startswith("fail ")]
        assert failures, done.stderr
        assert all("dvc.lock" in line or "rwlock" in line for line in failures), failures
        repaired = len(failures)
        for line in failures:
            clone.run(line.split("; run: ")[1])
        done = clone.run("dvc repro", status=None)
    assert done.returncode == 0, done.stderr
    return repaired


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.thorough) for part in range(1, PARTS))])
def test_kills_at_random_instants(finished: Finished, tmp_path: Path, part: int, *, long: bool) -> None:
    wanted = LONG if long else SHORT if part else FIRST
    expected = outs(finished.clone.path / "dvc.lock")
    numbers, seconds = random.Random(part), finished.seconds
    kills = runs = repaired = 0
    while kills < wanted:
        clone = make_clone(tmp_path / str(runs) / "darkroom")
        told: list[str] = []
        for number in range(min(numbers.randint(2, MAX_CHAIN), wanted - kills)):
            # Every run has less left to do.
            start = time.monotonic()
            if done := kill_once(clone, numbers, seconds / (1 + number / 2)):
                kills += 1
                told.append(done)
            elif number == 0:  # the machine is less busy than it was for the undisturbed run
                seconds = min(seconds, time.monotonic() - start)
            check_recorded(clone, expected, told)
        repaired += finish(clone)
        assert outs(clone.path / "dvc.lock") == expected, told
        assert clone.run("dvc status --quiet", status=None).returncode == 0, told
        assert not list(clone.path.rglob(".writing-*")), told
        runs += 1
    print(
        f"\nkills: {kills} over {runs} runs, 0 lost, 0 corrupt, bits equal; files that DVC left half written, and doctor repaired: {repaired}"
    )
