"""Greedy soups: the mean of the weights of epochs that do not make each other worse. No Lightning here."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from darkroom.training.checkpoints.store import Weights


@dataclass(frozen=True)
class Soup:
    """The mean of the weights of several epochs.

    Attributes
    ----------
    epochs : list of int
        In the order in which they were added, the best one first.
    weights : dict of Tensor
        On the CPU.
    score : float
        The monitored metric of the mean, measured on all validation images.
    """

    epochs: list[int]
    weights: dict[str, Tensor]
    score: float


def greedy_soup(
    epochs: Mapping[int, float], load: Callable[[int], Weights], measure: Callable[[Weights], float], *, sign: int
) -> Soup | None:
    """Return the soup that begins with the best epoch and takes in every next one with which its metric is no worse.

    Parameters
    ----------
    epochs
        Each with its score, the best one first.
    load
        Returns the weights of one.
    measure
        Returns the metric of weights.
    sign
        1 if the greatest value is the best one, else -1.

    Returns
    -------
    soup
        Its counters (of batches that normalisation has seen) are those of the best epoch. None if that stays alone.

    References
    ----------
    Wortsman et al. 2022, Model soups, https://arxiv.org/abs/2203.05482, recipe 1.
    """
    (best, score), *others = epochs.items()
    first = load(best)
    members, total, soup = [best], _added(None, first), None
    for epoch, _ in others:
        with_it = _added(total, load(epoch))
        mean = {
            name: (with_it[name] / (len(members) + 1)).to(value.dtype) if name in total else value
            for name, value in first.items()
        }
        measured = measure(mean)
        if math.isfinite(measured) and sign * measured >= sign * score:
            members, total, score = [*members, epoch], with_it, measured
            soup = Soup(members, mean, score)
    return soup


def _added(total: Weights | None, weights: Weights) -> dict[str, Tensor]:
    """Return the sum, in double precision, of numbers and statistics of normalisation; counters are left out."""
    numbers = {name: value.double() for name, value in weights.items() if value.is_floating_point()}
    return numbers if total is None else {name: total[name] + value for name, value in numbers.items()}
