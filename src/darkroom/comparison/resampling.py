"""How far a difference may be chance: paired bootstrap, random exchange, McNemar's exact test. N images, B draws.

All numbers are drawn from one seed: the same predictions give the same intervals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.metrics.bootstrap import FEWEST_DRAWS, Units, draw_weights, num_draws_of
from darkroom.metrics.measures import Ranking, areas, measure, measure_sums, rankings, sums_of
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.per_image import Floats

# Images that are drawn and exchanged, for all draws together, which takes a minute.
MOST_DRAWN = 300_000_000


def num_resamples(outcomes: Outcomes) -> int:
    """Return how many draws are made for every metric: fewer of very large sets, whose noise is small, but always enough."""
    of_counts, of_curves = num_draws_of(outcomes)
    return max(FEWEST_DRAWS, min(of_counts if outcomes.probabilities is None else of_curves, MOST_DRAWN // len(outcomes)))


def metrics_of(outcomes: Outcomes) -> dict[str, float]:
    """Return every metric; NaN where it is undefined."""
    curves = areas(rankings(outcomes), np.ones((1, len(outcomes))), binary=outcomes.binary)
    return {name: float(value[0]) for name, value in (measure(outcomes).overall | curves.overall).items()}


def bootstrap(sides: Sequence[Outcomes], units: Units) -> list[dict[str, Floats]]:
    """Return for each side every metric of the same draws of the images, (B,)."""
    ranked = [list(rankings(side)) for side in sides]
    parts: list[list[dict[str, Floats]]] = [[] for _ in sides]
    for weights in draw_weights(units, num_resamples(sides[0]), num_classes=sides[0].num_classes):
        for found, side, curves in zip(parts, sides, ranked, strict=True):
            found.append(measure(side, weights).overall | areas(curves, weights, binary=side.binary).overall)
    return [_joined(found) for found in parts]


def exchanged(first: Outcomes, second: Outcomes, units: Units) -> dict[str, Floats]:
    """Return every metric's difference where the two predictions of each unit are exchanged or not, at random, (B,).

    This is how the difference would vary if both revisions were equally good and only different.
    """
    generator = np.random.default_rng(1)
    once = np.ones((1, len(first)))
    sides = (first, second)
    totals = [sums_of(side, once) for side in sides]
    ranked = list(_ranked_together(first, second))
    found = []
    for rows in units.sizes(num_resamples(first), first.num_classes):
        swap = units.spread(generator.integers(0, 2, (rows, units.count), dtype=np.uint8).astype(np.float64))
        given, taken = (sums_of(side, swap) for side in sides)
        moved = {name: taken[name] - given[name] for name in given if name in taken}
        metrics = []
        for side, total, sign in zip(sides, totals, (1, -1), strict=True):
            own = measure_sums(side, {name: total[name] + sign * each for name, each in moved.items()})
            weights = np.concatenate([1 - swap, swap][::sign], axis=1) if ranked else swap
            metrics.append(own.overall | areas(ranked, weights, binary=side.binary).overall)
        found.append({name: metrics[1][name] - metrics[0][name] for name in metrics[0] if name in metrics[1]})
    return _joined(found)


def _ranked_together(first: Outcomes, second: Outcomes) -> Iterator[Ranking]:
    """Yield the ranking of each class over the images of both, (2 N,); none if one has no probabilities."""
    if first.probabilities is None or second.probabilities is None:
        return iter(())
    labels: NDArray[Any] = np.concatenate([first.labels, second.labels])
    return rankings(replace(first, labels=labels, probabilities=np.concatenate([first.probabilities, second.probabilities])))


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
