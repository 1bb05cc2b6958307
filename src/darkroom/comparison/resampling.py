"""How far a difference may be chance: paired bootstrap, random exchange, McNemar's exact test. N images, B resamples.

All numbers are drawn from one seed: the same predictions give the same intervals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from darkroom.comparison.predictions import Floats, Rows
from darkroom.comparison.weighted import Summed, sums

RESAMPLES, FEWEST = 1000, 200
# Weights that are computed with at a time, and kept as bytes; products of weights and columns that are affordable: seconds.
HELD, KEPT, AFFORDABLE = 2_000_000, 50_000_000, 20_000_000_000
LEVEL = 0.95


def num_resamples(side: Summed) -> int:
    """Return how many resamples are drawn: fewer of very large sets, whose noise is small."""
    return int(np.clip(AFFORDABLE // (len(side) * side.cost), FEWEST, RESAMPLES))


@dataclass(frozen=True)
class Units:
    """What is drawn: images, or groups of them. Images of one group are more alike than others, such as those of a patient.

    Attributes
    ----------
    count : int
        How many units there are.
    member : (N,) int64, or None
        The unit of each image; None: each image is one.
    """

    count: int
    member: Rows | None = None

    @classmethod
    def of(cls, num_images: int, groups: Sequence[str | None] | None) -> "Units":
        """Return the groups of N images, of which None is alone; of one group alone there is nothing to draw."""
        if groups is None:
            return cls(num_images)
        numbers: dict[tuple[str, int] | str, int] = {}
        keys = [("", place) if name is None else name for place, name in enumerate(groups)]
        member = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        return cls(num_images) if len(numbers) in (1, num_images) else cls(len(numbers), member)

    def spread(self, weights: Floats) -> Floats:
        """Return the weights of images, (B, N), from those of units, (B, U)."""
        return weights if self.member is None else weights[:, self.member]


@lru_cache(maxsize=2)
def _kept(num_units: int, count: int) -> NDArray[np.uint8]:
    """Return how often each unit is in each resample, (B, U); several comparisons of the same images share it."""
    return np.stack(list(_drawn(num_units, count)))


def _drawn(num_units: int, count: int) -> Iterator[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield np.bincount(generator.integers(0, num_units, num_units), minlength=num_units).astype(np.uint8)


def _weights(units: Units, count: int) -> Iterator[Floats]:
    """Yield the weights of the units in the resamples, (B, U) in parts."""
    rows = iter(_kept(units.count, count)) if units.count * count <= KEPT else _drawn(units.count, count)
    while part := list(islice(rows, max(1, HELD // units.count))):
        yield np.stack(part).astype(np.float64)


def bootstrap(sides: Sequence[Summed], units: Units) -> list[dict[str, Floats]]:
    """Return for each side every metric of the same resamples of the images, (B,)."""
    parts: list[list[dict[str, Floats]]] = [[] for _ in sides]
    for weights in _weights(units, num_resamples(sides[0])):
        for found, side in zip(parts, sides, strict=True):
            found.append(side.metrics(units.spread(weights)))
    return [_joined(found) for found in parts]


def exchanged(first: Summed, second: Summed, units: Units) -> dict[str, Floats]:
    """Return every metric's difference where the two predictions of each unit are exchanged or not, at random, (B,).

    This is how the difference would vary if both revisions were equally good and only different.
    """
    generator = np.random.default_rng(1)
    ones = np.ones((1, len(first)))
    totals = [side.sums(ones) for side in (first, second)]
    shifts = {name: first.columns[name] - second.columns[name] for name in first.columns.keys() & second.columns.keys()}
    curve = first.curve.stacked(second.curve) if first.curve and second.curve else None
    found, left = [], num_resamples(first)
    while left:
        size = min(left, max(1, HELD // len(first)))
        left -= size
        swap = units.spread(generator.integers(0, 2, (size, units.count), dtype=np.uint8).astype(np.float64))
        moved = sums(shifts, swap)
        metrics = first.metrics_of({name: totals[0][name] - moved[name] for name in shifts})
        others = second.metrics_of({name: totals[1][name] + moved[name] for name in shifts})
        if curve:
            metrics |= curve.metrics(np.concatenate([1 - swap, swap], axis=1))
            others |= curve.metrics(np.concatenate([swap, 1 - swap], axis=1))
        found.append({name: others[name] - metrics[name] for name in metrics.keys() & others.keys()})
    return _joined(found)


def interval(values: Floats) -> tuple[float, float]:
    """Return the percentiles between which 95 % of the values are; NaN if none is defined."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def p_value(difference: float, by_chance: Floats) -> float:
    """Return how often exchanged predictions differ by at least as much; never 0, since the real ones are one case of them."""
    defined = by_chance[~np.isnan(by_chance)]
    return float((1 + (np.abs(defined) >= abs(difference) - 1e-12).sum()) / (1 + len(defined)))


def mcnemar(fixed: int, broken: int) -> float:
    """Return the two-sided p-value of McNemar's exact test of whether as many were fixed as broken but for chance.

    References
    ----------
    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", Psychometrika 12,
    1947; in its exact form, a sign test of the images in which the revisions differ.
    """
    total, steps = fixed + broken, np.arange(min(fixed, broken))
    # Logarithms of the binomial coefficients.
    coefficients = np.concatenate([[0.0], np.cumsum(np.log(total - steps) - np.log(steps + 1))])
    return min(1.0, float(2 * np.exp(coefficients - total * np.log(2)).sum()))


def _joined(parts: list[dict[str, Floats]]) -> dict[str, Floats]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
