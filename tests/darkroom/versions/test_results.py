"""What is read of a revision: intervals, what is missing, what it started from."""

import json
import math
from pathlib import Path

import pytest
from evaluated import revision
from repositories import git, lock_text

from darkroom.base.errors import InputError
from darkroom.pages.lineage import lineage
from darkroom.versions.intervals import interval_in, wilson
from darkroom.versions.parameters import differing
from darkroom.versions.results import Results
from darkroom.versions.revisions import Revision


@pytest.mark.parametrize(("right", "count"), [(90, 100), (36, 36), (0, 5), (1, 2)])
def test_wilson_is_that_of_scipy(right: int, count: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right / count, count) == pytest.approx((right / count, expected.low, expected.high), abs=1e-6)


def test_of_no_images_there_is_no_interval() -> None:
    assert math.isnan(wilson(0.5, 0).low)
    assert math.isnan(wilson(math.nan, 5).low)


def test_an_interval_that_is_not_there_has_no_ends() -> None:
    for values in (None, {}, {"accuracy": None}, {"accuracy": {"value": 1.0, "low": None, "high": 1.0}}, [1]):
        assert math.isnan(interval_in(values, "accuracy").low)


def test_the_recorded_interval_comes_before_one_of_our_own() -> None:
    metrics = {"metrics/evaluate.json": b'{"test": {"accuracy": 0.9}}', "data/split/split.json": b'{"images": {"test": 100}}'}
    assert revision(metrics).interval("test", "accuracy").low == pytest.approx(0.8256, abs=1e-4)
    recorded = json.dumps({"test": {"accuracy": {"value": 0.9, "low": 0.85, "high": 0.95}}}).encode()
    assert revision(metrics | {"metrics/evaluate/intervals.json": recorded}).interval("test", "accuracy") == (0.9, 0.85, 0.95)


@pytest.mark.parametrize(
    ("outs", "there", "expected"),
    [
        ({"metrics/evaluate"}, {"metrics/evaluate/confusion.csv"}, "main has none, since an earlier version made it"),
        ({"metrics/evaluate"}, set(), "dvc fetch"),
        (set(), set(), "main has none"),
    ],
)
def test_what_was_never_made_is_told_from_what_is_not_here(outs: set[str], there: set[str], expected: str) -> None:
    def read(path: str) -> bytes:
        if path in there:
            return b"x"
        raise InputError(f"{path}: is not in the cache; run 'dvc fetch'")

    results = Results(Revision("main", "c" * 40, frozenset(outs), read), Path("/"))
    with pytest.raises(InputError, match=expected):
        results.bytes_of("metrics/evaluate/features.parquet")


def committed(folder: Path, lr: float, message: str) -> str:
    (folder / "dvc.lock").write_bytes(lock(lr))
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
    return git(folder, "rev-parse", "HEAD")


def lock(lr: float) -> bytes:
    return lock_text({"train": {"params": {"train": {"lr": lr}}}}).encode()


def test_what_a_revision_started_from(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    first, second = committed(tmp_path, 0.1, "First"), committed(tmp_path, 0.2, "Second <b>")

    def of(commit: str | None, lr: float) -> Results:
        return Results(Revision("name", commit, frozenset(), lambda _: lock(lr)), tmp_path)

    found = lineage(of(second, 0.2))
    assert found.about.endswith("Second <b>")
    assert (found.baseline, found.changed) == (first[:7], {"train.lr": (0.1, 0.2)})
    assert lineage(of(first, 0.1)).baseline == ""  # nothing before it
    workspace = lineage(of(None, 0.3))
    assert (workspace.baseline, workspace.changed) == (f"HEAD ({second[:7]})", {"train.lr": (0.2, 0.3)})
    # An experiment started from the first commit, wherever HEAD is now.
    made = committed(tmp_path, 0.4, "dvc: commit experiment 123")
    git(tmp_path, "update-ref", f"refs/exps/{first[:2]}/{first[2:]}/name", made)
    git(tmp_path, "reset", "-q", "--hard", second)
    found = lineage(of(made, 0.4))
    assert (found.baseline, found.changed) == (first[:7], {"train.lr": (0.1, 0.4)})
    assert "experiment" not in found.about


def test_a_mapping_in_place_of_a_value_is_one_difference() -> None:
    first = {"train.lr": 0.1, "train.stop.patience": 3, "train.stop.delta": 0.0, "train.loss": "ce"}
    second = {"train.lr": 0.1, "train.stop": None, "train.loss": "ce", "train.new.a.b": 1}
    assert differing(first, second) == {"train.stop": ({"patience": 3, "delta": 0.0}, None), "train.new.a.b": (..., 1)}
    assert differing(first, first, first) == {}
