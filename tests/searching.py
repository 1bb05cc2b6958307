"""Searches without trainings, for tests: trials are claimed and finished, by processes that may be killed at any instant."""

import time
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.search.samplers import make_sampler
from darkroom.search.space import Space
from darkroom.search.storage import open_storage
from darkroom.search.trials import Trials

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


def open_trials(
    repository: Path, number: int = 10, address: str | None = None, search_space: dict[str, Any] | None = None, **tune: Any
) -> Trials:
    content = read_yaml(PARAMS)
    content["tune"] |= tune | {"search_space": search_space or content["tune"]["search_space"]}
    params = check_params(content).tune
    space = Space(params.search_space, content)
    storage, _ = open_storage(address, repository, "mine")
    sampler = make_sampler(params, [], space.of_params(), space.distributions())
    pruner = optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=0)
    study = optuna.create_study(
        study_name="mine", storage=storage, sampler=sampler, pruner=pruner, direction="maximize", load_if_exists=True
    )
    return Trials(study, space, number, repository)


def work(repository: Path, number: int, address: str | None, seconds: float) -> None:
    """Work at trials in a process of its own, which a test may kill at any instant."""
    trials = open_trials(repository, number, address)
    with trials.registered():
        while True:
            trial = trials.claim()
            if trial is None:
                if not trials.elsewhere():
                    return
                time.sleep(0.05)
                continue
            settings = trials.settings(trial)
            time.sleep(seconds)
            trials.tell(trial, TrialState.COMPLETE, values=[settings["train.lr"]])
            trials.release(trial)


def assert_sound(trials: Trials, number: int) -> None:
    counted = trials.counted()
    assert [trial.state for trial in counted] == [TrialState.COMPLETE] * number
    assert [trial.value for trial in counted] == [trial.params["train.lr"] for trial in counted]
    assert len({trial.params["train.lr"] for trial in counted}) == number


def close(trials: Trials) -> None:
    """Close the connections to a database."""
    storage = trials.study._storage._backend  # type: ignore[attr-defined]
    storage.remove_session()
    storage.engine.dispose()
