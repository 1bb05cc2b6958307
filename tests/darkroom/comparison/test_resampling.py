"""Noise: McNemar's test, the bootstrap and random exchange, on cases whose answers are known."""

from pathlib import Path

import numpy as np
import pytest
from compared import split_of, sure

from darkroom.comparison import resampling
from darkroom.comparison.matching import match
from darkroom.comparison.measured import Measured
from darkroom.comparison.resampling import mcnemar, p_value
from darkroom.metrics import bootstrap
from darkroom.metrics.bootstrap import FEWEST_DRAWS


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [(0, 0, 1.0), (1, 1, 1.0), (0, 4, 0.125), (4, 0, 0.125), (5, 15, 0.04138946533203125), (0, 6, 0.03125)],
)
def test_mcnemar(fixed: int, broken: int, p: float) -> None:
    """R: binom.test(5, 20)$p.value is 0.04139."""
    assert mcnemar(fixed, broken) == pytest.approx(p)


def test_mcnemar_of_many_images() -> None:
    """R: binom.test(49000, 100000)$p.value is 2.6e-10."""
    assert mcnemar(49_000, 51_000) == pytest.approx(2.6e-10, rel=0.05)


def pair(tmp_path: Path, num_images: int, fixed: int, broken: int, **options: object) -> Measured:
    """Return two revisions of which the first is wrong about 20 images, of which `fixed` are fixed and others broken."""
    labels = np.arange(num_images) % 4
    first, second = labels.copy(), labels.copy()
    first[:20] = (first[:20] + 1) % 4
    second[fixed:20] = first[fixed:20]
    second[20 : 20 + broken] = (second[20 : 20 + broken] + 2) % 4
    sides = [split_of(tmp_path, sure(each, 4), labels, **options) for each in (first, second)]
    return Measured(match(*sides), 15)


def test_the_interval_of_accuracy_is_that_of_paired_proportions(tmp_path: Path) -> None:
    measured = pair(tmp_path, 2000, 10, 30)
    change = next(each for each in measured.metrics if each.name == "accuracy")
    assert change.difference == pytest.approx(-0.01)
    deviation = np.sqrt((40 / 2000 - 0.01**2) / 2000)
    assert (change.low, change.high) == pytest.approx((-0.01 - 1.96 * deviation, -0.01 + 1.96 * deviation), abs=0.0006)
    assert change.p == mcnemar(10, 30)
    assert change.verdict == "worse"


def test_exchange_of_predictions_agrees_with_mcnemar(tmp_path: Path) -> None:
    """The mean loss differs as accuracy does, since every mistake costs the same."""
    changes = {each.name: each for each in pair(tmp_path, 400, 5, 15).metrics}
    assert changes["loss"].p == pytest.approx(mcnemar(5, 15), abs=0.02)


def test_few_images_are_no_proof_though_the_interval_excludes_zero(tmp_path: Path) -> None:
    change = next(each for each in pair(tmp_path, 400, 0, 4).metrics if each.name == "accuracy")
    assert change.high < 0
    assert change.p == 0.125
    assert change.verdict == "within noise"


def test_equal_predictions_do_not_differ(tmp_path: Path) -> None:
    for change in pair(tmp_path, 100, 0, 0).metrics:
        assert (change.difference, change.low, change.high, change.p) == (0, 0, 0, 1), change.name


def test_equal_predictions_give_equal_numbers(tmp_path: Path) -> None:
    assert pair(tmp_path, 300, 5, 9).metrics == pair(tmp_path, 300, 5, 9).metrics


def test_in_groups_images_are_exchanged_together(tmp_path: Path) -> None:
    """Twelve broken images of one patient are one case, not twelve."""
    alone = next(each for each in pair(tmp_path, 400, 0, 12).metrics if each.name == "accuracy")
    groups = [None if place < 20 else f"{place // 12 if place > 31 else 'patient'}" for place in range(400)]
    grouped = pair(tmp_path, 400, 0, 12, groups=groups)
    assert grouped.units.count == 20 + 1 + len({place // 12 for place in range(32, 400)})
    change = next(each for each in grouped.metrics if each.name == "accuracy")
    assert alone.verdict == "worse"
    assert (change.p, change.verdict) == (1.0, "within noise")


def test_undefined_draws_are_left_out() -> None:
    assert p_value(1.0, np.array([np.nan, 0.0, 0.0, 2.0])) == 0.5


def test_large_sets_are_drawn_less_often_but_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "MOST_DRAWN", 1)
    few = pair(tmp_path, 300, 5, 9)
    assert few.metrics[0].has_noise
    assert all((each.p * (FEWEST_DRAWS + 1)) % 1 == pytest.approx(0, abs=1e-6) for each in few.metrics if each.name != "accuracy")


def test_draws_do_not_depend_on_how_many_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pair(tmp_path, 300, 5, 9).metrics
    monkeypatch.setattr(bootstrap, "CHUNK", 900)
    for found, one in zip(pair(tmp_path, 300, 5, 9).metrics, expected, strict=True):
        assert (found.low, found.high, found.p) == pytest.approx((one.low, one.high, one.p)), one.name
