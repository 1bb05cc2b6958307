"""Gates on revisions in a repository: what fails, what passes, and by how much it could be worse."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import PREDICTIONS, Repository, make_repository, sure

from darkroom.base.errors import InputError
from darkroom.comparison.comparison import Comparer
from darkroom.comparison.gate import read_gate
from darkroom.comparison.verdict import Verdict

N = 1000
LABELS = np.arange(N) % 4


def mistakes(count: int, start: int = 0) -> np.ndarray[Any, Any]:
    predicted = LABELS.copy()
    predicted[start : start + count] = (predicted[start : start + count] + 1) % 4
    return sure(predicted, 4)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """`main` is wrong about 50 of 1 000 images, `worse` about 100, `other` about 50 others, `older` has no predictions."""
    made = make_repository(tmp_path_factory.mktemp("verdict"))
    for branch, probabilities in (("worse", mistakes(100)), ("other", mistakes(50, 500)), ("main", mistakes(50))):
        made.evaluate(probabilities, LABELS, metrics={"accuracy": float((probabilities.argmax(1) == LABELS).mean()), "own": 0.25})
        made.commit(branch)
    made.git("checkout", "-qB", "older")
    lock = made.root / "dvc.lock"
    lock.write_text(lock.read_text().partition("    outs:")[0])
    made.write({"dvc.yaml": "stages:\n  evaluate:\n    cmd: 'true'\n"})
    made.commit("older")
    made.git("checkout", "-q", "main")
    return made


@pytest.fixture(scope="module")
def verdict(repository: Repository) -> Callable[..., Verdict]:
    comparer = Comparer(repository.root, repository.root / "logs")
    return lambda gate, name: comparer.judge(read_gate(gate), name)


@pytest.mark.parametrize(
    ("gate", "name", "passed", "reason"),
    [
        ("test.accuracy >= main - 0.005", "worse", False, r"worse beyond noise, by 0\.03\d\d to 0\.06\d\d, where 0\.005 is allowed"),
        ("test.accuracy >= main - 0.05", "worse", True, r"not worse beyond noise, but it could be worse by 0\.06\d\d: so few images"),
        ("test.accuracy >= main - 0.1", "worse", True, r"worse by 0\.06\d\d at most, where 0\.1 is allowed"),
        ("test.accuracy >= main", "other", True, r"not worse beyond noise, but it could be worse by 0\.0[12]\d\d: so few images"),
        ("test.accuracy >= main", "main", True, r"not worse, also at the worse end of the interval"),
        ("test.accuracy >= worse", "main", True, r"not worse, also at"),
        ("test.accuracy >= worse + 0.1", "main", False, r"better by 0\.06\d\d at most, where 0\.1 is wanted"),
        ("test.accuracy >= worse + 0.02", "main", True, r"better by 0\.03\d\d at least, where 0\.02 is wanted"),
        ("test.accuracy >= worse + 0.05", "main", True, r"not short of the wanted 0\.05 beyond noise, but better by \+0\.03\d\d only"),
        ("test.accuracy >= main + 0.01", "worse", False, r"not better, where 0\.01 is wanted"),
        ("test.loss <= main", "worse", False, r"worse beyond noise, by 0\.\d+ to 0\.\d+, where 0 is allowed"),
        ("test.accuracy >= 0.95", "worse", False, r"below 0\.95 beyond noise; it could be 0\.88\d\d"),
        ("test.accuracy >= 0.91", "worse", True, r"not beyond 0\.91 by more than noise, but it could be 0\.88\d\d: so few"),
        ("test.accuracy >= 0.85", "worse", True, r"0\.88\d\d at worst, within 0\.85"),
        ("test.loss <= 0.01", "worse", False, r"above 0\.01 beyond noise; it could be 0\.\d+"),
        ("test.own >= 0.2", "main", True, r"by its value alone it is met; what is noise is unknown: own is not computed from"),
        ("test.own >= other + 0.1", "main", False, r"by its value alone it is missed; what is noise is unknown: own is not"),
        ("test.accuracy >= older", "worse", False, r"by its value alone it is missed; what is noise is unknown: older has no metrics/pred"),
    ],
)  # fmt: skip
def test_verdicts(verdict: Callable[..., Verdict], gate: str, name: str, passed: bool, reason: str) -> None:
    found = verdict(gate, name)
    assert (found.passed, found.name) == (passed, name)
    assert re.match(reason, found.reason), found.reason


def test_what_was_measured_is_said(verdict: Callable[..., Verdict]) -> None:
    assert verdict("test.accuracy >= main", "worse").values.startswith("0.9000, main 0.9500: -0.0500, 95 % interval -0.06")
    assert verdict("test.accuracy >= main", "worse").values.endswith(", 1000 images")
    assert verdict("test.accuracy >= 0.5", "worse").values.startswith("0.9000, 95 % interval 0.88")
    assert verdict("test.own >= main - 0.1", "other").values == "0.2500, limit 0.1500"


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ("test.acuracy >= main", "--gate: main has no metric 'acuracy' on test; did you mean 'test.accuracy'?"),
        ("val.accuracy >= main", "--gate: main has no metrics on val; write 'test.accuracy'"),
        ("test.accuracy >= mian", "--gate: mian: is not a commit, branch, tag or experiment; did you mean 'main'?"),
        ("test.accuracy >= main-0.1", "--gate: main-0.1: is not a revision; write spaces around the sign: 'main - 0.1'"),
        ("test.auroc >= main", "--gate: main has no metric 'auroc' on test; "),
    ],
)
def test_gates_that_name_what_is_not_there(verdict: Callable[..., Verdict], gate: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        verdict(gate, "main")
    assert str(error.value).startswith(message)


def test_few_images_that_differ_fail_no_gate(tmp_path: Path) -> None:
    made = make_repository(tmp_path)
    for branch, count in (("next", 4), ("bad", 6), ("main", 0)):
        made.evaluate(mistakes(count), LABELS)
        made.commit(branch)
    comparer = Comparer(made.root, made.root / "logs")
    assert comparer.judge(read_gate("test.accuracy >= main"), "next").passed
    assert not comparer.judge(read_gate("test.accuracy >= main"), "bad").passed


def test_predictions_that_are_damaged_or_gone_are_no_reason_to_fail_without_a_word(tmp_path: Path) -> None:
    made = make_repository(tmp_path)
    made.evaluate(mistakes(3), LABELS, metrics={"accuracy": 0.997})
    made.commit("main")
    comparer = Comparer(made.root, made.root / "logs")
    (made.root / PREDICTIONS).write_bytes(b"PAR1 no")
    found = comparer.judge(read_gate("test.accuracy >= main"), "workspace")
    assert found.passed
    assert f"{PREDICTIONS}: is damaged in workspace (" in found.reason
    assert "run 'dvc checkout --force'" in found.reason
    assert not math.isnan(float(found.values[:6]))
