"""Optuna's samplers and pruners. What they draw depends only on seed, trial number and key, so a restart changes nothing."""

import copy
import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from optuna import create_study
from optuna.distributions import BaseDistribution
from optuna.logging import ERROR, get_verbosity, set_verbosity
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, QMCSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from darkroom.base.errors import InputError, one_line
from darkroom.base.instantiate import Builder
from darkroom.base.params import Target, TuneParams

# Attribute of a study whose sampler has tried every combination.
EXHAUSTED = "exhausted"


class NumberedSampler(BaseSampler):
    """Makes a new sampler for every draw, seeded by the number of the trial and the key.

    A sampler that lives as long as its process would draw the same again after a restart, and in every other process that
    shares the study.

    Parameters
    ----------
    make
        Returns the sampler for a seed.
    seed
        Seed of the search.
    first
        Values of the first trial, by key; other keys are drawn.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, first: Mapping[str, Any]):
        self.make, self.seed, self.first = make, seed, dict(first)

    def _of(self, trial: FrozenTrial, key: str = "") -> BaseSampler:
        sampler = self.make(self.seed)
        if isinstance(sampler, QMCSampler):  # one sequence, in which it counts the trials itself
            return sampler
        digest = hashlib.sha256(f"{self.seed}/{trial.number}/{key}".encode()).digest()
        return self.make(int.from_bytes(digest[:4], "big"))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the keys that are drawn together; none for the first trial."""
        return {} if trial.number == 0 and self.first else self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        """Draw the keys that are drawn together."""
        return self._of(trial).sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        """Draw one key."""
        if trial.number == 0 and param_name in self.first:
            return self.first[param_name]
        return self._of(trial, param_name).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Pass on to the sampler."""
        self._of(trial).before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Pass on to the sampler; if it has tried everything that there is, the study says so from then on."""
        watched = copy.copy(study)
        # Optuna's own is for its own loop over trials.
        vars(watched)["stop"] = lambda: study.set_user_attr(EXHAUSTED, True)
        self._of(trial).after_trial(watched, trial, state, values)


def make_sampler(
    tune: TuneParams, allow: Sequence[str], first: Mapping[str, Any], keys: Mapping[str, BaseDistribution] = MappingProxyType({})
) -> NumberedSampler:
    """Return the sampler that `tune.sampler` names, after it was tried on every key.

    Raises
    ------
    InputError
        If it is not a sampler, its arguments are wrong, or it cannot search a key, such as BruteForceSampler one without steps.
    """

    def make(seed: int) -> BaseSampler:
        sampler: BaseSampler = Builder("tune.sampler", (BaseSampler,), allow, {"seed": seed}).build(tune.sampler)
        return sampler

    make(tune.seed)
    for key, kind in keys.items():
        _try(NumberedSampler(make, tune.seed, {}), key, kind, tune)
    return NumberedSampler(make, tune.seed, first)


def _try(sampler: NumberedSampler, key: str, kind: BaseDistribution, tune: TuneParams) -> None:
    """Draw twice, in memory: some samplers look at a range only once a trial has ended."""
    try:
        with _silent():
            study = create_study(sampler=sampler, directions=tune.directions)
            for _ in range(2):
                trial = study.ask({key: kind})
                study.tell(trial, [0.0] * len(tune.directions))
                if EXHAUSTED in study.user_attrs:
                    break
    except Exception as error:
        name = type(sampler.make(tune.seed)).__name__
        raise InputError(
            f"params.yaml: tune.search_space.{key}: {name} cannot search it ({one_line(error)[:200]}); "
            "give it choices or a step, or name another sampler in tune.sampler"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Silence what Optuna says of studies in memory."""
    level = get_verbosity()
    set_verbosity(ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        set_verbosity(level)


def make_pruner(target: Target | None, allow: Sequence[str]) -> BasePruner:
    """Return the pruner that `tune.pruner` names; for null one that prunes nothing, since Optuna takes None for MedianPruner.

    Raises
    ------
    InputError
        If it is not a pruner, or its arguments are wrong.
    """
    if target is None:
        return NopPruner()
    pruner: BasePruner = Builder("tune.pruner", (BasePruner,), allow).build(target)
    return pruner
