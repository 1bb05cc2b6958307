"""What Optuna draws for a trial, as a function of seed, number of the trial and key: a restart neither repeats nor changes it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, QMCSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from darkroom.instantiate import Builder
from darkroom.params import Target, TuneParams


class NumberedSampler(BaseSampler):
    """Asks a sampler that is made anew for every trial, with a seed of its own.

    One that lives as long as its process draws the same again in the next process, and in every other that shares the study.

    Parameters
    ----------
    make
        Returns the sampler for a seed.
    seed
        Of the search.
    first
        What the first trial takes, for the keys that are in it.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, first: Mapping[str, Any]):
        self.make, self.seed, self.first = make, seed, dict(first)

    def _of(self, trial: FrozenTrial, key: str = "") -> BaseSampler:
        sampler = self.make(self.seed)
        if isinstance(sampler, QMCSampler):  # one sequence, of which it counts the trials itself
            return sampler
        digest = hashlib.sha256(f"{self.seed}/{trial.number}/{key}".encode()).digest()
        return self.make(int.from_bytes(digest[:4], "big"))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return what the sampler draws together; of the first trial nothing."""
        return {} if trial.number == 0 and self.first else self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Draw together."""
        return self._of(trial).sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Draw for one key."""
        if trial.number == 0 and param_name in self.first:
            return self.first[param_name]
        return self._of(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Let the sampler note what it needs."""
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Let the sampler note what it needs."""
        self._of(trial).after_trial(study, trial, state, values)


def make_sampler(tune: TuneParams, allow: Sequence[str], first: Mapping[str, Any]) -> NumberedSampler:
    """Return what `tune.sampler` names, tried once.

    Raises
    ------
    InputError
        If it is no sampler, or does not take its arguments.
    """

    def make(seed: int) -> BaseSampler:
        sampler: BaseSampler = Builder("tune.sampler", (BaseSampler,), allow, {"seed": seed}).build(tune.sampler)
        return sampler

    make(tune.seed)
    return NumberedSampler(make, tune.seed, first)


def make_pruner(target: Target | None, allow: Sequence[str]) -> BasePruner:
    """Return what `tune.pruner` names; for null what ends no trial, for Optuna takes None for its MedianPruner.

    Raises
    ------
    InputError
        If it is no pruner, or does not take its arguments.
    """
    if target is None:
        return NopPruner()
    pruner: BasePruner = Builder("tune.pruner", (BasePruner,), allow).build(target)
    return pruner
