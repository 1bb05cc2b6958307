"""What was computed once is not computed again: not for another experiment, an older commit, a trial or another clone."""

import re
import subprocess
from pathlib import Path

import pytest
from clones import Clone, Finished

pytestmark = pytest.mark.slow
RESULTS = ("train", "evaluate", "predict")


def ran(told: str) -> dict[str, str]:
    """Return how stages were done, by name: `Running`, or `cached`."""
    found = {name: "Running" for name in re.findall(r"^Running stage '(\w+)'", told, re.MULTILINE)}
    return found | {name: "cached" for name in re.findall(r"^Stage '(\w+)' is cached", told, re.MULTILINE)}


def weights(clone: Clone) -> bytes:
    return (clone.path / "models" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def two(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with a remote and two commits, of which each has results of its own; all are pushed."""
    folder = tmp_path_factory.mktemp("run-cache")
    clone = finished.copy(folder / "darkroom")
    clone.run(f"dvc remote add -q -d storage {folder / 'storage'} && git add -A && git commit -qm remote && git tag slow")
    first = clone.run("dvc exp run -n first -S train.lr=0.02").stdout
    assert ran(first) == {"check": "Running", **dict.fromkeys(RESULTS, "Running")}
    clone.run("git add -A && git commit -qm fast && git tag fast && dvc push -q --run-cache --all-commits")
    return clone


def test_an_equal_experiment_does_not_train_again(two: Clone) -> None:
    fast = weights(two)
    two.run("git checkout -q slow && dvc checkout -q -f")
    assert weights(two) != fast
    try:
        again = two.run("dvc exp run -n second -S train.lr=0.02").stdout
        assert ran(again) == {"check": "Running", **dict.fromkeys(RESULTS, "cached")}
        assert weights(two) == fast
        assert two.run("git diff --stat fast -- metrics dvc.lock params.yaml").stdout == ""
        assert " 0 mismatches" in two.run("./darkroom verify").stdout
    finally:
        two.run("git checkout -q -f fast && dvc checkout -q -f")


@pytest.mark.thorough  # as an equal experiment, above
def test_parameters_of_an_older_commit_bring_its_results_back(two: Clone) -> None:
    try:
        two.run("git checkout -q slow -- params.yaml")
        assert ran(two.run("dvc repro").stdout) == {"check": "Running", **dict.fromkeys(RESULTS, "cached")}
        assert two.run("git diff --stat slow -- metrics dvc.lock params.yaml").stdout == ""
        assert " 0 mismatches" in two.run("./darkroom verify").stdout
    finally:
        two.run("git checkout -q -f fast && dvc checkout -q -f")


@pytest.mark.thorough  # tests/darkroom/cli/test_tune.py has trials in folders of their own that find a training in every run
def test_a_folder_of_its_own_shares_them(two: Clone) -> None:
    told = two.run("dvc exp run --temp -n elsewhere -S train.lr=0.01").stdout
    assert ran(told) == {"check": "Running", **dict.fromkeys(RESULTS, "cached")}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("fetch", "run"),
    [
        ("dvc fetch -q --run-cache", "dvc exp run --pull"),
        pytest.param("dvc pull -q --run-cache --all-commits", "dvc exp run", marks=pytest.mark.thorough),
    ],
)
def test_another_clone_does_not_train(two: Clone, tmp_path: Path, fetch: str, run: str) -> None:
    """DVC pushes no metric that is in Git, and restores all outputs or none: they are found in the folders beside them."""
    subprocess.run(["git", "clone", "-q", two.path, tmp_path / "other"], check=True)
    other = Clone(tmp_path / "other")
    other.run(fetch)
    told = other.run(f"{run} -S train.lr=0.01").stdout
    assert ran(told) == {"check": "Running", **dict.fromkeys(RESULTS, "cached")}
    assert other.run("git diff --stat slow -- metrics").stdout == ""
    assert " 0 mismatches" in other.run("./darkroom verify").stdout


def test_what_is_computed_anew_by_force_is_computed(two: Clone) -> None:
    assert "Running stage 'predict'" in two.run("dvc repro --force --single-item predict").stdout
