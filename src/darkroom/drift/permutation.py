"""Permutation tests of two samples. NumPy only. R reference images, N new photos, P permutations.

A statistic is computed for the new photos, and for as many images drawn at random from both samples together. Where both are
drawn alike, the first value is as likely as any other to be among the largest ones: the p-value is exact for any distribution.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
# With this many, the least p-value is 0.0005: enough for five tests at 1 % together.
PERMUTATIONS = 1999


@dataclass(frozen=True, eq=False)
class Assignments:
    """Which of R + N images, the reference first, count as new.

    Attributes
    ----------
    chosen : (P + 1, R + N) float32
        1 for the N that do; the first row has the new photos themselves.
    """

    chosen: NDArray[np.float32]

    @classmethod
    def draw(cls, num_reference: int, num_new: int, seed: int, permutations: int = PERMUTATIONS) -> Self:
        """Return the real assignment and random ones."""
        random = np.random.default_rng(seed)
        chosen = np.zeros((permutations + 1, num_reference + num_new), np.float32)
        chosen[0, num_reference:] = 1
        for row in chosen[1:]:
            row[random.permutation(len(row))[:num_new]] = 1
        return cls(chosen)

    @property
    def num_new(self) -> int:
        """N."""
        return int(self.chosen[0].sum())

    def sums(self, values: Floats) -> NDArray[np.float64]:
        """Return the sums over the new photos (P + 1,), or (P + 1, K), of values (R + N,) or (R + N, K)."""
        found: NDArray[np.float64] = (self.chosen @ values.astype(np.float32)).astype(np.float64)
        return found


def p_value(statistics: Floats) -> float:
    """Return the share of values (P + 1,) that are at least the first one, itself among them.

    See B. Phipson, G. K. Smyth, "Permutation P-values Should Never Be Zero", 2010.
    """
    return float(_ranks(statistics)[0])


def combined(columns: list[Floats]) -> tuple[float, list[float]]:
    """Return the p-value of the least of several p-values, and each of these, by the same permutations.

    See P. H. Westfall, S. S. Young, "Resampling-Based Multiple Testing", 1993.

    Parameters
    ----------
    columns : list of (P + 1,)
        A statistic each, of the same assignments; large ones speak against chance.
    """
    each = np.stack([_ranks(statistics) for statistics in columns])
    return p_value(-each.min(axis=0)), each[:, 0].tolist()


def _ranks(statistics: Floats) -> NDArray[np.float64]:
    """Return for each value the share of values that are at least as large; rounding does not tell equal ones apart."""
    rounded = np.round(statistics / max(float(np.abs(statistics).max()), np.finfo(np.float64).tiny), 5)
    ordered = np.sort(rounded)
    ranks: NDArray[np.float64] = (len(ordered) - np.searchsorted(ordered, rounded, side="left")) / len(ordered)
    return ranks
