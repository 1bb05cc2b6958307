"""Bootstrap intervals of every metric, and of each class. N images, K classes, G groups, B draws."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.measures import Measured, areas, count, measure, rankings
from darkroom.metrics.outcomes import MOST_CLASSES, Outcomes
from darkroom.metrics.per_image import Floats

LEVEL, DRAWS, SEED = 0.95, 1000, 0
# With fewer draws the ends of an interval would be too uncertain: there is none then.
FEWEST_DRAWS = 200
# Numbers that are weighed, for all draws together: images, and images times classes for the areas under curves.
MOST_WEIGHED, MOST_RANKED = 1_000_000_000, 200_000_000
# Numbers that are in memory at once.
CHUNK = 500_000
# Metrics that are fractions of images: all right, or all wrong, does not mean that there is no doubt.
RATES = ("accuracy", "top5_accuracy", "balanced_accuracy", "precision", "recall", "f1")
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


def draw_weights(
    num_images: int, num_draws: int, groups: Sequence[str | None] | None = None, *, num_classes: int = 1
) -> Iterator[Floats]:
    """Yield chunks (c, N) of how often each of N images is drawn, of B draws in all; always the same ones.

    Images are drawn with replacement. Where images belong together, as those of a patient do, whole groups are drawn: images of
    one group are more alike than others, and drawn one by one they would promise more than they can keep.

    Parameters
    ----------
    num_images, num_draws
        N and B.
    groups
        The group of each image; None: it is alone.
    num_classes
        Number of classes that are counted for each draw: with more of them a chunk has fewer draws.
    """
    random = np.random.Generator(np.random.Philox(SEED))
    member = members_of(num_images, groups)
    num_groups = num_images if member is None else int(member.max()) + 1
    size = max(1, CHUNK // max(num_images, num_classes))
    for begin in range(0, num_draws, size):
        rows = min(size, num_draws - begin)
        drawn = random.integers(0, num_groups, (rows, num_groups)) + num_groups * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * num_groups).reshape(rows, num_groups).astype(np.float64)
        yield weights if member is None else np.take(weights, member, axis=1)


def members_of(num_images: int, groups: Sequence[str | None] | None) -> NDArray[np.intp] | None:
    """Return the number of the group of each image, (N,); None if no two images are in one."""
    if groups is None:
        return None
    keys = [f"{place}" if name is None else f"g{name}" for place, name in enumerate(groups)]
    numbers: dict[str, int] = {}
    member = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)
    # Of one group there is nothing to draw.
    return None if len(numbers) in (1, num_images) else member


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
        As for `draw_weights`.
    only
        Names of metrics of all images; None: all, also the areas under curves and those of each class.

    References
    ----------
    B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (the percentile interval).
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    num = len(outcomes)
    num_draws = _fitting(MOST_WEIGHED, num * (outcomes.num_classes if outcomes.multilabel else 1))
    num_ranked = min(num_draws, _fitting(MOST_RANKED, num * outcomes.num_classes)) if only is None else 0
    once = np.ones((1, num))
    counts = count(outcomes, once)
    value = measure(outcomes, once, counts=counts)
    keeps_classes = only is None and outcomes.num_classes <= MOST_CLASSES
    ranked = list(rankings(outcomes)) if num_ranked else rankings(outcomes) if only is None else []
    binary = outcomes.decision.positive is not None
    curves = areas(ranked, once, binary=binary)
    drawn: list[Measured] = []
    done = 0
    for weights in draw_weights(num, num_draws, groups, num_classes=outcomes.num_classes):
        each = measure(outcomes, weights, counts=count(outcomes, weights))
        of_curves = areas(ranked, weights[: max(0, num_ranked - done)], binary=binary) if done < num_ranked else Measured({}, {})
        chosen = {name: values for name, values in each.overall.items() if only is None or name in only}
        drawn.append(Measured(chosen | of_curves.overall, (each.per_class | of_curves.per_class) if keeps_classes else {}))
        done += len(weights)
    names = [name for name in (*value.overall, *curves.overall) if only is None or name in only]
    whole = value.overall | curves.overall
    overall = {
        name: _interval(whole[name][0], _gathered(drawn, "overall", name), float(num), is_rate=_is_rate(name)) for name in names
    }
    overall = _without_draws_of_counts(outcomes, overall)
    per_class: dict[str, list[Interval]] = {}
    if keeps_classes:
        support = counts.support[0]
        for name, values in (value.per_class | curves.per_class).items():
            ends = _gathered(drawn, "per_class", name)
            rate = _is_rate(name)
            per_class[name] = [
                _interval(each, None if ends is None else ends[:, label], support[label], is_rate=rate)
                for label, each in enumerate(values[0])
            ]
    return Intervals(overall, per_class, (num_draws, num_ranked))


def selective(outcomes: Outcomes, confidence: float, groups: Sequence[str | None] | None = None) -> dict[str, Interval]:
    """Return how many images a model decides that abstains below a confidence, and how many of those rightly."""
    covered = (outcomes.confidence >= confidence).astype(np.float64)
    columns = np.stack([covered, covered * outcomes.right], axis=1)
    weights = np.ones((1, len(outcomes)))
    values = [_selected(weights, columns)]
    values += [_selected(each, columns) for each in draw_weights(len(outcomes), _fitting(MOST_WEIGHED, len(outcomes)), groups)]
    joined = {name: np.concatenate([each[name] for each in values]) for name in values[0]}
    sizes = {"coverage": float(len(outcomes)), "selective_accuracy": float(covered.sum())}
    return {name: _interval(each[0], each[1:], sizes[name], is_rate=True) for name, each in joined.items()}


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


def _is_rate(name: str) -> bool:
    return name.removesuffix("_macro").removesuffix("_weighted").removesuffix("_micro") in RATES


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
    ends = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(known, *_rounded((float(ends[0]), float(ends[1]))))


def _rounded(ends: tuple[float, float]) -> tuple[float, float]:
    return round(ends[0], 6), round(ends[1], 6)


def wilson(fraction: float, num_images: float) -> tuple[float, float]:
    """Return Wilson's interval of a fraction of images."""
    middle = (fraction + Z**2 / (2 * num_images)) / (1 + Z**2 / num_images)
    half = Z / (1 + Z**2 / num_images) * np.sqrt(fraction * (1 - fraction) / num_images + Z**2 / (4 * num_images**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
