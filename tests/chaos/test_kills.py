"""Whatever is killed, whenever, however often: the next `dvc repro` ends with the bits of a run that nobody disturbed."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from clones import Clone, make_clone, outs

from darkroom.errors import InputError
from darkroom.params_file import read_yaml

pytestmark = pytest.mark.slow
MAX_CHAIN = 3
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# A stage that finds the one before still saving its state waits for it.
PATIENCE_SECONDS = 120


class Undisturbed:
    """A finished run: what it made, and how long it took."""

    def __init__(self, clone: Clone):
        start = time.monotonic()
        clone.run("dvc repro")
        self.seconds = time.monotonic() - start
        self.outs = outs(clone.path / "dvc.lock")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(make_clone(tmp_path_factory.mktemp("undisturbed") / "darkroom"))


def kill_once(clone: Clone, numbers: random.Random, seconds: float) -> str | None:
    """Start `dvc repro` and kill it, with or without its stage, at a random instant; None if it was over before."""
    with (clone.path.parent / "log").open("a") as log:
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=clone.path,
            env=clone.env,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        time.sleep(numbers.uniform(0, seconds))
        if process.poll() is not None:
            return None
        number, whom = numbers.choice(SIGNALS), numbers.choice(("dvc", "all", "stage"))
        stages = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        if whom == "all":
            os.killpg(process.pid, number)
        elif whom == "stage" and stages:
            subprocess.run(["kill", f"-{number}", *stages], check=False)
        else:
            process.send_signal(number)
        # DVC does not hear SIGINT while a stage runs: it is over when the stage is.
        process.wait(PATIENCE_SECONDS)
    return f"{signal.Signals(number).name} to {whom}"


def check_recorded(clone: Clone, expected: dict[str, str], told: list[str]) -> None:
    """Whatever stands in dvc.lock was finished: its outputs are those of the undisturbed run."""
    lock = clone.path / "dvc.lock"
    try:
        stages = read_yaml(lock)["stages"].values()
    except (InputError, TypeError, KeyError):
        return  # there is none yet, or DVC was killed while it wrote it, which it does in place
    recorded = {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", []) if "md5" in out}
    assert all(expected[path].startswith(md5) for path, md5 in recorded.items()), told


def finish(clone: Clone) -> int:
    """Run what is left, and return how many of DVC's own files had to be mended as `./darkroom doctor` says.

    DVC writes dvc.lock and .dvc/tmp/rwlock in place, and reads neither if it was killed in that instant.
    """
    done = clone.run("dvc repro", status=None)
    mended = 0
    if done.returncode != 0:
        findings = clone.run("./darkroom doctor", status=None).stdout.splitlines()
        failures = [line for line in findings if line.startswith("fail ")]
        assert failures, done.stderr
        assert all("dvc.lock" in line or "rwlock" in line for line in failures), failures
        mended = len(failures)
        for line in failures:
            clone.run(line.split("; run: ")[1])
        done = clone.run("dvc repro", status=None)
    assert done.returncode == 0, done.stderr
    return mended


def test_kills_at_random_instants(undisturbed: Undisturbed, tmp_path: Path, *, long: bool) -> None:
    wanted = 200 if long else 24
    numbers = random.Random(0)
    kills = runs = mended = 0
    while kills < wanted:
        clone = make_clone(tmp_path / str(runs) / "darkroom")
        told: list[str] = []
        for number in range(numbers.randint(2, MAX_CHAIN)):
            # What is left to do gets less with every run.
            if done := kill_once(clone, numbers, undisturbed.seconds / (1 + number / 2)):
                kills += 1
                told.append(done)
            check_recorded(clone, undisturbed.outs, told)
        mended += finish(clone)
        assert outs(clone.path / "dvc.lock") == undisturbed.outs, told
        assert clone.run("dvc status --quiet", status=None).returncode == 0, told
        assert not list(clone.path.rglob(".writing-*")), told
        runs += 1
    print(
        f"\nkills: {kills} over {runs} runs, 0 lost, 0 corrupt, bits equal; files that DVC left half written, and doctor repaired: {mended}"
    )
