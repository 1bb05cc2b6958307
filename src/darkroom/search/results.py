"""What a search has found, as rows: its trials, the best of them, what mattered."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

# Of fewer trials chance alone would be told.
FEWEST = 5


class Step(NamedTuple):
    """A trial that was finished, in the course of the search."""

    trial: int
    value: float
    best: float
    """Up to this trial."""


def ranked(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials with values, the best first; of several metrics, those first that no other is better than in all."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    signs = [1 if direction == StudyDirection.MINIMIZE else -1 for direction in study.directions]

    def costs(trial: FrozenTrial) -> list[float]:
        return [sign * value for sign, value in zip(signs, trial.values, strict=True)]

    def is_beaten(trial: FrozenTrial) -> bool:
        ours = costs(trial)
        return any(all(a <= b for a, b in zip(theirs, ours, strict=True)) and theirs != ours for theirs in map(costs, finished))

    return sorted(finished, key=lambda trial: (is_beaten(trial), costs(trial), trial.number))


def history(study: Study, trials: Sequence[FrozenTrial], objective: int = 0) -> list[Step]:
    """Return how the best value of a metric came about."""
    better = min if study.directions[objective] == StudyDirection.MINIMIZE else max
    steps: list[Step] = []
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            value = trial.values[objective]
            steps.append(Step(trial.number, value, better(value, steps[-1].best) if steps else value))
    return steps


def importances(study: Study, objective: int = 0) -> dict[str, float]:
    """Return what share each key has in the differences of a metric, the greatest first; nothing where that cannot be told."""
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(finished) < FEWEST or len({trial.values[objective] for trial in finished}) == 1:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study, target=lambda trial: trial.values[objective])
    except (ValueError, RuntimeError, ZeroDivisionError):  # such as no key that all trials have
        return {}
    return {key: value for key, value in found.items() if math.isfinite(value)}
