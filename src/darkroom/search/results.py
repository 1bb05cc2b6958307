"""Results of a search: the trials ranked, the best value so far, the importance of each key."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import optuna
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

# With fewer trials importances are mostly chance.
MIN_TRIALS = 5


class Step(NamedTuple):
    """A finished trial, and the best value so far."""

    trial: int
    value: float
    best: float
    """Up to this trial."""


def ranked(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the finished trials, the best first; with several metrics the Pareto front first."""
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    signs = [1 if direction == StudyDirection.MINIMIZE else -1 for direction in study.directions]

    def costs(trial: FrozenTrial) -> list[float]:
        return [sign * value for sign, value in zip(signs, trial.values, strict=True)]

    def is_dominated(trial: FrozenTrial) -> bool:
        ours = costs(trial)
        return any(all(a <= b for a, b in zip(theirs, ours, strict=True)) and theirs != ours for theirs in map(costs, finished))

    return sorted(finished, key=lambda trial: (is_dominated(trial), costs(trial), trial.number))


def history(study: Study, trials: Sequence[FrozenTrial], objective: int = 0) -> list[Step]:
    """Return the values of a metric by trial, with the best so far."""
    better = min if study.directions[objective] == StudyDirection.MINIMIZE else max
    steps: list[Step] = []
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            value = trial.values[objective]
            steps.append(Step(trial.number, value, better(value, steps[-1].best) if steps else value))
    return steps


def importances(study: Study, objective: int = 0) -> dict[str, float]:
    """Return the importance of each key for a metric, which sum to 1, the greatest first; none where Optuna finds none."""
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(finished) < MIN_TRIALS or len({trial.values[objective] for trial in finished}) == 1:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study, target=lambda trial: trial.values[objective])
    except (ValueError, RuntimeError, ZeroDivisionError):  # such as when no key is in all trials
        return {}
    return {key: value for key, value in found.items() if math.isfinite(value)}
