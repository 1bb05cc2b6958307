"""Bootstrap intervals of every metric, of each class, and of the images that share a group or another column's value.

N images, K classes, G groups, B draws.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.measures import CURVES, Measured, areas, count, measure, rankings
from darkroom.metrics.outcomes import MOST_CLASSES, Floats, Outcomes

LEVEL, DRAWS, SEED = 0.95, 1000, 0
# With fewer draws the ends of an interval would be too uncertain: there is none then.
FEWEST_DRAWS = 200
# Numbers that are weighed, for all draws together: images, and images times classes for the areas under curves.
MOST_WEIGHED, MOST_RANKED = 1_000_000_000, 200_000_000
# Numbers that are in memory at once.
CHUNK = 500_000
# Values of a column that are measured: with at least so many images, and at most so many values and columns.
FEWEST_IMAGES, MOST_VALUES, MOST_COLUMNS = 5, 50, 10
# Of the metrics of all images those that a part of them is measured by.
OF_PARTS = ("loss", "accuracy", "balanced_accuracy", "f1_macro", "brier", "ece", "top5_accuracy")
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


def draw_weights(num_images: int, num_draws: int, groups: Sequence[str | None] | None = None) -> Iterator[Floats]:
    """Yield chunks (c, N) of how often each of N images is drawn, of B draws in all; always the same ones.

    Images are drawn with replacement. Where images belong together, as those of a patient do, whole groups are drawn: images of
    one group are more alike than others, and drawn one by one they would promise more than they can keep.

    Parameters
    ----------
    num_images, num_draws
        N and B.
    groups
        The group of each image; None: it is alone.
    """
    random = np.random.Generator(np.random.Philox(SEED))
    member = _members(num_images, groups)
    num_groups = num_images if member is None else int(member.max()) + 1
    size = max(1, CHUNK // num_images)
    for begin in range(0, num_draws, size):
        rows = min(size, num_draws - begin)
        drawn = random.integers(0, num_groups, (rows, num_groups)) + num_groups * np.arange(rows)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * num_groups).reshape(rows, num_groups).astype(np.float64)
        yield weights if member is None else np.take(weights, member, axis=1)


def _members(num_images: int, groups: Sequence[str | None] | None) -> NDArray[np.intp] | None:
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
    for weights in draw_weights(num, num_draws, groups):
        each = measure(outcomes, weights, counts=count(outcomes, weights))
        of_curves = areas(ranked, weights[: max(0, num_ranked - done)], binary=binary) if done < num_ranked else Measured({}, {})
        overall = {name: values for name, values in each.overall.items() if only is None or name in only}
        drawn.append(Measured(overall | of_curves.overall, (each.per_class | of_curves.per_class) if keeps_classes else {}))
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
    if is_rate and known in (0.0, 1.0) and num_images > 0 and (defined == known).all():
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


def values_of(column: Sequence[str | None]) -> tuple[dict[str, NDArray[np.intp]], int]:
    """Return the rows of each value of a column that is measured, the most frequent first, and the number of other values."""
    frequent = Counter(value for value in column if value is not None and value != "").most_common()
    chosen = [value for value, number in frequent[:MOST_VALUES] if number >= FEWEST_IMAGES]
    places: dict[str, list[int]] = {value: [] for value in chosen}
    for row, value in enumerate(column):
        if value in places:
            places[value].append(row)
    return {value: np.array(rows, np.intp) for value, rows in places.items()}, len(frequent) - len(chosen)


def by_column(
    outcomes: Outcomes, columns: Mapping[str, Sequence[str | None]], groups: Sequence[str | None] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the metrics of the images that share a value, by column and value, and what is left out of each column.

    A column of one value, or of values that nearly every image has for itself, says nothing and is left out.
    """
    found: dict[str, Any] = {}
    left_out: dict[str, Any] = {}
    for name, column in columns.items():
        places, others = values_of(column)
        if len(places) + others < 2 or not places:
            left_out[name] = "has one value" if places or not others else f"no value has {FEWEST_IMAGES} images"
            continue
        if len(found) == MOST_COLUMNS:
            left_out[name] = f"only the first {MOST_COLUMNS} columns are measured"
            continue
        if outcomes.predicted is None:
            left_out[name] = f"several labels of more than {MOST_CLASSES} classes"
            continue
        found[name] = {}
        for value, rows in places.items():
            part = outcomes.take(rows)
            of_part = None if groups is None or name == "group" else [groups[row] for row in rows.tolist()]
            each = intervals_of(part, of_part, only=OF_PARTS)
            found[name][value] = {"images": len(rows), **{key: one.as_json() for key, one in each.overall.items()}}
        if others:
            left_out[name] = f"{others} values with fewer than {FEWEST_IMAGES} images, or beyond the first {MOST_VALUES}"
    return found, left_out


def intervals_json(
    splits: Mapping[str, Outcomes],
    classes: Sequence[str],
    columns: Mapping[str, Sequence[str | None]],
    groups: Mapping[str, Sequence[str | None]],
) -> dict[str, Any]:
    """Return the content of intervals.json: the metrics of each split; of `test` also of each class and each column's values.

    Parameters
    ----------
    splits
        Outcomes of each split.
    classes
        The K class names.
    columns
        Of the images of `test` the columns of the source, by name.
    groups
        Of each split the group of each image, where the source has groups.
    """
    measured = {name: intervals_of(each, groups.get(name)) for name, each in splits.items()}
    content: dict[str, Any] = {
        name: {key: one.as_json() for key, one in each.overall.items()} for name, each in measured.items()
    }
    test = splits.get("test")
    per_class: dict[str, Any] = {}
    by: dict[str, Any] = {}
    left_out: dict[str, Any] = {}
    if test is not None:
        named = measured["test"].per_class
        support = test.counts[2].tolist()
        per_class = {
            classes[label]: {"images": support[label], **{key: each[label].as_json() for key, each in named.items()}}
            for label in range(len(classes) if named else 0)
        }
        by, left_out = by_column(test, columns, groups.get("test"))
    about = {
        "level": LEVEL,
        "method": "percentile bootstrap; Wilson where every draw is 0 or 1",
        "resampled": {name: "images" if _members(len(each), groups.get(name)) is None else "groups" for name, each in splits.items()},
        "draws": {name: each.num_draws[0] for name, each in measured.items()},
        "draws_of_curves": {name: each.num_draws[1] for name, each in measured.items()},
        "images": {name: len(each) for name, each in splits.items()},
        "left_out": left_out | ({} if per_class or test is None else {"per_class": f"more than {MOST_CLASSES} classes"}),
    }
    return {"about": about, **content, "per_class": per_class, "by": by}
