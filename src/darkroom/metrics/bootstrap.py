"""Bootstrap intervals of every metric, and of each class. N images, K classes, G groups, B draws."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.measures import OF_CURVES, RATES, Measured, areas, measure, measure_sums, rankings, sums_of
from darkroom.metrics.outcomes import MOST_CLASSES, Outcomes
from darkroom.metrics.per_image import Floats

LEVEL, DRAWS, SEED = 0.95, 1000, 0
# With fewer draws the ends of an interval would be too uncertain: there is none then.
FEWEST_DRAWS = 200
# Numbers that are weighed, for all draws together: images, and images times classes for the areas under curves.
MOST_WEIGHED, MOST_RANKED = 1_000_000_000, 200_000_000
# Numbers that are in memory at once.
CHUNK = 500_000
Z = 1.959964  # standard normal quantile of LEVEL


@dataclass(frozen=True)
class Interval:
    """A value and the ends of its interval; None: not defined, or not computed."""

    value: float | None
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | None]:
        """Return it as intervals.json holds it."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Intervals:
    """The metrics of a split.

    Attributes
    ----------
    overall
        By name.
    per_class
        By name those of the K classes; empty for more than a thousand.
    num_draws
        B, and for the areas under curves; fewer than `FEWEST_DRAWS`: only values were computed.
    """

    overall: dict[str, Interval]
    per_class: dict[str, list[Interval]] = field(default_factory=dict)
    num_draws: tuple[int, int] = (DRAWS, DRAWS)


@dataclass(frozen=True)
class Units:
    """What is drawn: images, or whole groups of them.

    Images of one group are more alike than others, as those of a patient are; drawn one by one they would promise more than they
    can keep.

    Attributes
    ----------
    count : int
        How many units there are.
    member : (N,) intp, or None
        The unit of each image; None: each image is one.
    """

    count: int
    member: NDArray[np.intp] | None = None

    @classmethod
    def of(cls, num_images: int, groups: Sequence[str | None] | None = None) -> "Units":
        """Return the groups of N images, of which None is alone; of one group alone there is nothing to draw."""
        if groups is None:
            return cls(num_images)
        keys = [f"{place}" if name is None else f"g{name}" for place, name in enumerate(groups)]
        numbers: dict[str, int] = {}
        member = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)
        return cls(num_images) if len(numbers) in (1, num_images) else cls(len(numbers), member)

    def spread(self, weights: Floats) -> Floats:
        """Return the weights of images, (c, N), from those of units, (c, U)."""
        return weights if self.member is None else np.take(weights, self.member, axis=1)

    def sizes(self, num_draws: int, num_classes: int) -> Iterator[int]:
        """Yield numbers of draws that fit into memory together, with so many classes that are counted for each, B in all."""
        size = max(1, CHUNK // max(self.count if self.member is None else len(self.member), num_classes))
        yield from (min(size, num_draws - begin) for begin in range(0, num_draws, size))


def draw_weights(units: Units, num_draws: int, *, num_classes: int = 1) -> Iterator[Floats]:
    """Yield chunks (c, N) of how often each of N images is drawn, of B draws in all; always the same ones.

    Units are drawn with replacement.
    """
    random = np.random.Generator(np.random.Philox(SEED))
    for rows in units.sizes(num_draws, num_classes):
        drawn = random.integers(0, units.count, (rows, units.count)) + units.count * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * units.count).reshape(rows, units.count)
        yield units.spread(weights.astype(np.float64))


def num_draws_of(outcomes: Outcomes) -> tuple[int, int]:
    """Return how many draws are affordable, and of these for the areas under curves; 0 if these are fewer than are enough."""
    num = len(outcomes)
    num_draws = _fitting(MOST_WEIGHED, num * (outcomes.num_classes if outcomes.multilabel else 1))
    return num_draws, min(num_draws, _fitting(MOST_RANKED, num * outcomes.num_classes))


def intervals_of(
    outcomes: Outcomes, groups: Sequence[str | None] | None = None, *, only: Sequence[str] | None = None
) -> Intervals:
    """Return every metric with the interval that holds the middle 95 % of 1 000 bootstrap draws.

    With very many images there are fewer draws, and with very many images and classes none for the areas under curves. Where all
    draws are 1, or 0, such as the accuracy of a model that makes no mistake, it is Wilson's interval of as many images.

    Parameters
    ----------
    outcomes
        Of N images.
    groups
        The group of each image, of which None is alone: see `Units`.
    only
        Names of metrics of all images; None: all, and also those of each class.

    References
    ----------
    B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (the percentile interval).
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    num, binary = len(outcomes), outcomes.binary
    has_curves = only is None or not OF_CURVES.isdisjoint(only)
    num_draws, num_ranked = num_draws_of(outcomes)
    num_ranked = num_ranked if has_curves else 0
    keeps_classes = only is None and outcomes.num_classes <= MOST_CLASSES
    once = np.ones((1, num))
    sums = sums_of(outcomes, once)
    ranked = list(rankings(outcomes)) if num_ranked else rankings(outcomes) if has_curves else []
    value = _joined(measure_sums(outcomes, sums), areas(ranked, once, binary=binary))
    drawn: list[Measured] = []
    done = 0
    for weights in draw_weights(Units.of(num, groups), num_draws, num_classes=outcomes.num_classes):
        left = max(0, num_ranked - done)
        curves = areas(ranked if left else [], weights[:left], binary=binary)
        each = _joined(measure(outcomes, weights), curves)
        drawn.append(each if keeps_classes else Measured(each.overall, {}))
        done += len(weights)
    overall = {
        name: _interval(whole[0], _gathered(drawn, "overall", name), float(num), is_rate=name in RATES)
        for name, whole in value.overall.items()
        if only is None or name in only
    }
    per_class = {
        name: _intervals_of_classes(values[0], _gathered(drawn, "per_class", name), sums["support"][0], is_rate=name in RATES)
        for name, values in (value.per_class.items() if keeps_classes else ())
    }
    return Intervals(_without_draws_of_counts(outcomes, overall), per_class, (num_draws, num_ranked))


def _joined(first: Measured, second: Measured) -> Measured:
    return Measured(first.overall | second.overall, first.per_class | second.per_class)


def _intervals_of_classes(values: Floats, draws: Floats | None, support: Floats, *, is_rate: bool) -> list[Interval]:
    """Return the interval of each class from values (K,) and draws (B, K)."""
    each = [None] * len(values) if draws is None else draws.T
    return [_interval(*one, is_rate=is_rate) for one in zip(values, each, support, strict=True)]


def selective(outcomes: Outcomes, confidence: float, groups: Sequence[str | None] | None = None) -> dict[str, Interval]:
    """Return how many images a model decides that abstains below a confidence, and how many of those rightly."""
    covered = (outcomes.confidence >= confidence).astype(np.float64)
    columns = np.stack([covered, covered * outcomes.right], axis=1)
    weights, num_draws = np.ones((1, len(outcomes))), _fitting(MOST_WEIGHED, len(outcomes))
    values = [_selected(weights, columns)]
    values += [_selected(each, columns) for each in draw_weights(Units.of(len(outcomes), groups), num_draws)]
    joined = {name: np.concatenate([each[name] for each in values]) for name in values[0]}
    sizes = {"coverage": float(len(outcomes)), "selective_accuracy": float(covered.sum())}
    return {name: _interval(each[0], each[1:], sizes[name], is_rate=True) for name, each in joined.items()}


def means_of(values: Mapping[str, Floats], groups: Sequence[str | None] | None = None) -> dict[str, Interval]:
    """Return the mean over N images of each of some values (N,) by name; all but those with `size` in their name are rates."""
    columns = np.stack(list(values.values()), axis=1)
    weights = draw_weights(Units.of(len(columns), groups), _fitting(MOST_WEIGHED, columns.size))
    means = np.concatenate([each @ columns / each.sum(axis=1)[:, None] for each in (np.ones((1, len(columns))), *weights)])
    named = zip(values, means.T, strict=True)
    return {name: _interval(each[0], each[1:], len(columns), is_rate="size" not in name) for name, each in named}


def _selected(weights: Floats, columns: Floats) -> dict[str, Floats]:
    covered, right = (weights @ columns).T
    with np.errstate(invalid="ignore"):  # of no image
        return {"coverage": covered / weights.sum(axis=1), "selective_accuracy": right / covered}


def _without_draws_of_counts(outcomes: Outcomes, overall: dict[str, Interval]) -> dict[str, Interval]:
    """Drop the intervals of what is made of counts per class where only those of all images are kept."""
    if outcomes.predicted is not None:
        return overall
    of_images = ("loss", "accuracy", "brier", "ece")
    return {name: each if name in of_images else Interval(each.value, None, None) for name, each in overall.items()}


def _fitting(most: int, numbers: int) -> int:
    """Return the number of draws that weigh at most so many numbers; 0 if these are fewer than are enough."""
    fitting = min(DRAWS, most // max(1, numbers))
    return fitting if fitting >= FEWEST_DRAWS else 0


def _gathered(drawn: Sequence[Measured], part: str, name: str) -> Floats | None:
    """Return all draws of a metric, (B,) or (B, K); None if there are none."""
    found = [getattr(each, part)[name] for each in drawn if name in getattr(each, part)]
    return np.concatenate(found) if found else None


def _interval(value: float, draws: Floats | None, num_images: float, *, is_rate: bool) -> Interval:
    """Return a value with the middle of its draws (B,), of which those that are not defined are left out."""
    if not np.isfinite(value):
        return Interval(None, None, None)
    known = float(value)
    defined = np.zeros(0) if draws is None else draws[~np.isnan(draws)]
    if len(defined) < FEWEST_DRAWS:
        return Interval(known, None, None)
    if is_rate and min(known, 1 - known) < 1e-12 and num_images > 0 and np.allclose(defined, known, rtol=0, atol=1e-12):
        return Interval(known, *_rounded(wilson(known, num_images)))
    return Interval(known, *_rounded(middle_of(defined)))


def middle_of(draws: Floats) -> tuple[float, float]:
    """Return the percentiles between which 95 % of the draws are, but for those that are not defined; NaN if none is."""
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _rounded(ends: tuple[float, float]) -> tuple[float, float]:
    return round(ends[0], 6), round(ends[1], 6)


def wilson(fraction: float, num_images: float) -> tuple[float, float]:
    """Return Wilson's interval of a fraction of images."""
    middle = (fraction + Z**2 / (2 * num_images)) / (1 + Z**2 / num_images)
    half = Z / (1 + Z**2 / num_images) * np.sqrt(fraction * (1 - fraction) / num_images + Z**2 / (4 * num_images**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
