"""How far a search is: what a person reads of trials done, the best value and the time left."""

import math
import re
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from searching import open_trials

from darkroom.experiments.text import duration_text
from darkroom.search.progress import progress_text, seconds_left, state_text
from darkroom.search.samplers import EXHAUSTED

COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING


def study_of(*trials: tuple[TrialState, float | None, float | None], directions: tuple[str, ...] = ("maximize",)) -> optuna.Study:
    """Return a study of trials with a state, a value and seconds."""
    study = optuna.create_study(directions=list(directions))
    for state, value, seconds in trials:
        values = None if value is None else [value] * len(directions)
        attributes: dict[str, Any] = {} if seconds is None else {"seconds": seconds}
        study.add_trial(create_trial(state=state, values=values, user_attrs=attributes))
    return study


def text(study: optuna.Study, number: int = 8, *, elapsed: tuple[float, ...] = (), jobs: int = 1, most: float = math.inf) -> str:
    return progress_text(study, study.trials, number, elapsed=elapsed, jobs=jobs, most=most)


def test_done_best_and_time_left() -> None:
    study = study_of((COMPLETE, 0.97, 20), (COMPLETE, 0.981, 30), (COMPLETE, 0.95, 25))
    assert text(study) == "3 of 8, best 0.981, 2 min left"
    assert text(study, jobs=2) == "3 of 8, best 0.981, 62 s left"
    assert text(study_of((COMPLETE, 0.97, 20), (COMPLETE, 0.9, 30), directions=("minimize",))) == "2 of 8, best 0.9, 2 min left"


def test_pruned_and_failed_trials_are_done_and_count_with_their_time() -> None:
    study = study_of((COMPLETE, 0.9, 40), (PRUNED, None, 10), (FAIL, None, 10), (FAIL, None, None))
    assert text(study) == "4 of 8, best 0.9, 80 s left"


def test_nothing_is_known_before_the_first_value_and_nothing_left_after_the_last() -> None:
    assert text(study_of((FAIL, None, None))) == "1 of 8"
    assert text(study_of((PRUNED, None, 10)), 2) == "1 of 2, 10 s left"
    assert text(study_of((COMPLETE, 0.9, 40), (COMPLETE, 0.8, 40)), 2) == "2 of 2, best 0.9"


def test_a_search_of_several_metrics_has_no_best_value() -> None:
    assert text(study_of((COMPLETE, 0.9, 60), directions=("maximize", "minimize")), 2) == "1 of 2, 60 s left"


def test_the_time_that_running_trials_have_taken_is_not_left() -> None:
    study = study_of((COMPLETE, 0.9, 60), (RUNNING, None, None))
    assert text(study, 2, elapsed=(45.0,), jobs=2) == "1 of 2, best 0.9, 15 s left"
    assert text(study, 2, elapsed=(90.0,), jobs=2) == "1 of 2, best 0.9"  # longer than the others: nobody knows how long
    assert text(study, 2, jobs=2) == "1 of 2, best 0.9, 60 s left"  # of another search


def test_a_training_that_was_done_before_took_no_time() -> None:
    study = study_of((COMPLETE, 0.9, 60), (COMPLETE, 0.8, 2))
    study.add_trial(create_trial(state=COMPLETE, value=0.7, user_attrs={"seconds": 2.0, "cached": True}))
    assert text(study, 5) == "3 of 5, best 0.9, 62 s left"


def test_a_raised_number_and_more_trials_than_wanted() -> None:
    study = study_of(*[(COMPLETE, 0.9, 60.0)] * 3)
    assert text(study, 4) == "3 of 4, best 0.9, 60 s left"
    assert text(study, 2) == "3 of 3, best 0.9"


def test_new_trials_begin_until_the_deadline_alone() -> None:
    study = study_of((COMPLETE, 0.9, 60))
    assert text(study, 100, most=120) == "1 of 100, best 0.9, 3 min left"
    assert text(study, 100, most=-5) == "1 of 100, best 0.9, 60 s left"


@pytest.mark.parametrize("waiting", [0, 1, 7])
@pytest.mark.parametrize("running", [[], [0.0], [500.0, 3.0]])
@pytest.mark.parametrize("most", [-1.0, 0.0, math.inf])
def test_time_left_is_never_negative(waiting: int, running: list[float], most: float) -> None:
    left = seconds_left([10.0, 30.0], running, waiting, jobs=3, most=most)
    assert left is not None
    assert 0 <= left < 200


def test_durations() -> None:
    shown = [duration_text(seconds) for seconds in (0.2, 89.4, 90, 150, 3600, 5399, 5400, 36000)]
    assert shown == ["1 s", "89 s", "2 min", "2 min", "60 min", "90 min", "1.5 h", "10.0 h"]
    assert all(re.fullmatch(r"[\d.]+ (s|min|h)", each) for each in shown)


def test_the_state_of_a_search_and_of_one_that_has_tried_everything(tmp_path: Path) -> None:
    trials = open_trials(tmp_path, 3)
    first, second = trials.claim(), trials.claim()
    assert first is not None
    assert second is not None
    first.set_user_attr("seconds", 40.0)
    trials.tell(first, TrialState.COMPLETE, values=[0.5])
    begun = {first.number: time.monotonic() - 45, second.number: time.monotonic() - 30}  # the first one has just ended
    assert state_text(trials, begun, 1, math.inf) == "1 of 3, best 0.5, 50 s left"
    assert state_text(trials, begun, 1, time.monotonic() - 1) == "1 of 3, best 0.5, 40 s left"
    trials.study.set_user_attr(EXHAUSTED, True)
    assert state_text(trials, begun, 1, math.inf) == "1 of 2, best 0.5, 10 s left"
