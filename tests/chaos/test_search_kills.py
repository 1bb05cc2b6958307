"""A search that is killed at random instants, alone or with its processes, ends with every trial once and complete.

`make test` kills it once, `make test-all` five times, CHAOS=long 51 times.
"""

import json
import os
import random
import subprocess
import time
from pathlib import Path

import optuna
import pytest
from clones import Clone, make_clone
from optuna.trial import TrialState

from darkroom.search.storage import open_storage

pytestmark = pytest.mark.slow
# Of kills and trials.
SAMPLE, SHORT, LONG = (1, 2), (4, 3), (50, 20)
COMMAND = ["./darkroom", "tune", "--jobs", "2", "-S", "hardware.watch=false", "-S", "tune.pruner=null"]
PATIENCE_SECONDS = 120


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and their children."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [found for child in children for found in (int(child), *descendants(int(child)))]


def kill_once(clone: Clone, arguments: list[str], numbers: random.Random, seconds: float) -> str | None:
    """Start the search and kill it, or one of its processes, at a random instant; None if it had finished before."""
    with (clone.path.parent / "log").open("a") as log:
        process = subprocess.Popen([*COMMAND, *arguments], cwd=clone.path, env=clone.cold().env, stdout=log, stderr=log)
        time.sleep(numbers.uniform(0, seconds))
        if process.poll() is not None:
            return None
        whom = numbers.choice(("search", "search", "all", "one", "asked"))
        started = descendants(process.pid)
        if whom == "asked":
            process.terminate()
        elif whom == "one" and started:
            subprocess.run(["kill", "-9", str(numbers.choice(started))], check=False, capture_output=True)
            time.sleep(numbers.uniform(0, seconds / 4))
            process.kill()
        else:
            process.kill()
            if whom == "all":
                subprocess.run(["kill", "-9", *map(str, started)], check=False, capture_output=True)
        process.wait(PATIENCE_SECONDS)
    return whom


def check_sound(clone: Clone, num_trials: int, told: list[str]) -> None:
    study = optuna.load_study(study_name="search", storage=open_storage(None, clone.path, "search")[0])
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * num_trials, told
    names = [f"search-{number:04d}" for number in range(num_trials)]
    refs = clone.run("git for-each-ref --format='%(refname)' refs/exps").stdout.split()
    assert sorted(ref.rpartition("/")[2] for ref in refs) == names, told
    for name, trial in zip(names, study.trials, strict=True):
        commit = trial.user_attrs["experiment"]
        published = json.loads(clone.run(f"git show {commit}:metrics/train.json").stdout)["published"]
        assert published["accuracy"] == trial.value, (name, told)
        log = (clone.path / "logs/search" / f"{name}.log").read_text()
        # A search that was killed between a trial's end and its experiment finds it again, and does not train it again.
        assert log.count("train: published") - log.count("train: finished before") <= 1, (name, told)
    assert clone.run("git status --porcelain").stdout.split() == ["??", "metrics/search/"], told
    assert clone.run("git fsck --no-dangling", status=None).returncode == 0, told


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.thorough)])
def test_kills_at_random_instants(tmp_path: Path, *, thorough: bool, long: bool) -> None:
    kills, trials = SAMPLE if not thorough else LONG if long else SHORT
    clone = make_clone(tmp_path / "darkroom")
    clone.env["CUDA_VISIBLE_DEVICES"] = ""  # searches lease GPUs of the whole machine, where other tests may run some
    arguments = ["-S", f"tune.trials={trials}"]
    numbers = random.Random(os.environ.get("CHAOS_SEED", "0"))
    told: list[str] = []
    while len(told) < kills:
        done = kill_once(clone, arguments, numbers, 20.0)
        if done is None:  # it had finished: give it more to do
            arguments = ["-S", f"tune.trials={int(arguments[1].partition('=')[2]) + 4}"]
            continue
        told.append(done)
    start = time.monotonic()
    clone.run(" ".join([*COMMAND, *arguments]))
    check_sound(clone, int(arguments[1].partition("=")[2]), told)
    print(
        f"\nkills: {len(told)}: {arguments[1].partition('=')[2]} trials, 0 lost, 0 doubled, 0 stuck; the last run took {time.monotonic() - start:.0f} s"
    )
