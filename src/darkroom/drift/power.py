"""What size of drift the number of photos could have shown: found nine times out of ten, at the level of a test."""

import math
from statistics import NormalDist

import numpy as np

from darkroom.drift.permutation import Floats

POWER = 0.9
# Standard deviations between a limit and what exceeds it so often.
DEVIATIONS = NormalDist().inv_cdf(POWER)


def percent(share: float, digits: int = 1) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def fewest_foreign(weights: Floats, by_chance: Floats, num_new: int, level: float) -> int | None:
    """Return how many photos of something quite different, farther than all others, would have been found; None: not even all.

    Parameters
    ----------
    weights : (R + N,)
        From `tail_weights`.
    by_chance : (P,)
        Their sums over random assignments.
    num_new
        N.
    level
        Of the test.
    """
    limit = np.quantile(by_chance, 1 - level)
    falling = np.sort(weights)[::-1].astype(np.float64)
    for number in range(1, num_new + 1):
        rest, others = falling[number:], num_new - number
        # Of a sum of `others` values drawn without replacement.
        variance = others * (1 - others / len(rest)) * rest.var() if len(rest) else 0.0
        least = falling[:number].sum() + others * (rest.mean() if len(rest) else 0.0)
        if least - DEVIATIONS * math.sqrt(max(0.0, variance)) > limit:
            return number
    return None


def least_shift(num_reference: int, num_new: int, level: float) -> float:
    """Return the shift of a number, in standard deviations of the reference, that a test of ranks would have found.

    By the normal approximation; of normal values a test of ranks needs pi / 3 as many images as one of means.
    """
    needed = NormalDist().inv_cdf(1 - level / 2) + DEVIATIONS
    return needed * math.sqrt((1 / num_reference + 1 / num_new) * math.pi / 3)


def least_change(share: float, num_reference: int, num_new: int, level: float) -> float:
    """Return the change of a share of images that would have been found, by the normal approximation."""
    needed = NormalDist().inv_cdf(1 - level / 2) + DEVIATIONS
    return min(1.0, needed * math.sqrt(share * (1 - share) * (1 / num_reference + 1 / num_new)))
