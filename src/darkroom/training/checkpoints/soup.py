"""Greedy soups: the mean of the weights of several epochs, each added only if the metric does not get worse."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from darkroom.training.checkpoints.saved_states import Weights


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
    """Return the soup that starts with the best epoch and adds every next one with which the metric is no worse.

    Parameters
    ----------
    epochs
        Each with its score, the best one first.
    load
        Returns the weights of an epoch.
    measure
        Returns the metric of weights.
    sign
        1 if the greatest value is the best one, else -1.

    Returns
    -------
    soup
        Its counters (batches seen by batch normalisation) are those of the best epoch. None if no epoch was added to it.

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
    """Return the sum in double precision of all floating-point tensors; counters are left out."""
    numbers = {name: value.double() for name, value in weights.items() if value.is_floating_point()}
    return numbers if total is None else {name: total[name] + value for name, value in numbers.items()}
