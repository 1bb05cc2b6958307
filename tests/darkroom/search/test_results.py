"""Ranks, tables and charts of studies of known values."""

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from darkroom.experiments.text import table
from darkroom.search.results import Step, history, importances, ranked

LR = {"train.lr": FloatDistribution(0.0, 1.0), "train.ema": FloatDistribution(0.0, 1.0)}


def study_of(values: list[list[float] | None], directions: list[str]) -> optuna.Study:
    study = optuna.create_study(directions=directions)
    for place, each in enumerate(values):
        state = TrialState.FAIL if each is None else TrialState.COMPLETE
        params = {"train.lr": (each[0] if each else 0.0) % 1, "train.ema": place * 7 % 10 / 10}
        study.add_trial(create_trial(state=state, values=each, params=params, distributions=LR))
    return study


def test_the_best_come_first() -> None:
    study = study_of([[0.1], None, [0.3], [0.2], [0.3]], ["maximize"])
    assert [trial.number for trial in ranked(study, study.trials)] == [2, 4, 3, 0]
    assert history(study, study.trials) == [Step(0, 0.1, 0.1), Step(2, 0.3, 0.3), Step(3, 0.2, 0.3), Step(4, 0.3, 0.3)]


def test_with_several_metrics_the_pareto_front_comes_first() -> None:
    study = study_of([[0.9, 10.0], [0.8, 20.0], [0.7, 5.0], [0.6, 5.0]], ["maximize", "minimize"])
    assert [trial.number for trial in ranked(study, study.trials)] == [0, 2, 1, 3]


def test_a_key_that_matters_has_the_importance_and_too_few_trials_have_none() -> None:
    study = study_of([[place / 30] for place in range(30)], ["maximize"])
    shares = importances(study)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["train.lr"] > 0.8
    assert importances(study_of([[0.5]], ["maximize"])) == {}


def test_a_table_has_columns_of_equal_width() -> None:
    assert table([["a", 10], ["bbb", 2]], ["name", "n"]) == ["name  n", "a     10", "bbb   2"]
