"""A trial depends only on seed, number and finished trials: restarts neither repeat nor change it."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import QMCSampler, RandomSampler
from optuna.trial import TrialState
from searching import open_trials

from darkroom.base.errors import InputError
from darkroom.base.params import Target, TuneParams
from darkroom.search.samplers import NumberedSampler, make_pruner, make_sampler
from darkroom.search.storage import open_storage


def tune_of(content: dict[str, Any], **changes: Any) -> TuneParams:
    return TuneParams.model_validate({**content["tune"], **changes})


def tried(tune: TuneParams, root: Path, stops: list[int], first: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Ask for trials, in a new process, as it were, after each number of them."""
    study = None
    for number in stops:
        sampler = make_sampler(tune, [], first or {})
        storage, _ = open_storage(None, root, "mine")
        study = optuna.create_study(study_name="mine", storage=storage, sampler=sampler, load_if_exists=True)
        for _ in range(number):
            trial = study.ask()
            x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
            study.tell(trial, (x - 0.3) ** 2 + (y - 0.6) ** 2)
    assert study is not None
    return [trial.params for trial in study.trials]


@pytest.mark.sample(1)
@pytest.mark.parametrize("sampler", ["TPESampler", "RandomSampler", {"_target_": "TPESampler", "multivariate": True}])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_interruptions_change_nothing(content: dict[str, Any], tmp_path: Path, sampler: Any) -> None:
    tune = tune_of(content, sampler=sampler)
    undisturbed = tried(tune, tmp_path / "a", [24])
    assert tried(tune, tmp_path / "b", [1, 9, 3, 11]) == undisturbed
    assert len({trial["x"] for trial in undisturbed}) == 24
    assert all(trial["x"] != trial["y"] for trial in undisturbed)
    assert tried(tune_of(content, sampler=sampler, seed=1), tmp_path / "c", [3])[0] != undisturbed[0]


def test_the_search_gets_better(content: dict[str, Any], tmp_path: Path) -> None:
    found = tried(tune_of(content), tmp_path, [20, 20])

    def mean(trials: list[dict[str, float]]) -> float:
        return sum((trial["x"] - 0.3) ** 2 + (trial["y"] - 0.6) ** 2 for trial in trials) / len(trials)

    assert mean(found[20:]) < 0.5 * mean(found[:10])


def test_the_first_trial_takes_what_params_yaml_has(content: dict[str, Any], tmp_path: Path) -> None:
    assert tried(tune_of(content), tmp_path, [2], first={"x": 0.25})[0]["x"] == 0.25
    assert tried(tune_of(content), tmp_path / "b", [2], first={"x": 0.25})[1]["x"] != 0.25


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sequence_stays_one() -> None:
    sampler = NumberedSampler(lambda seed: QMCSampler(seed=seed, scramble=True), 3, {})
    of_trial = sampler._of(optuna.trial.create_trial(value=0.0))
    assert isinstance(of_trial, QMCSampler)
    assert of_trial._seed == 3
    assert isinstance(
        NumberedSampler(lambda seed: RandomSampler(seed), 3, {})._of(optuna.trial.create_trial(value=0.0)), RandomSampler
    )


@pytest.mark.parametrize(
    ("sampler", "told"),
    [
        ("TPESamplr", "tune.sampler._target_: there is no TPESamplr in optuna.samplers; did you mean 'TPESampler'?"),
        ("optuna.pruners.MedianPruner", "cannot be used here"),
        ({"_target_": "TPESampler", "startup": 3}, "tune.sampler.startup: TPESampler takes no such argument"),
        ("os.system", "is in none of"),
    ],
)
def test_wrong_samplers(content: dict[str, Any], sampler: Any, told: str) -> None:
    with pytest.raises(InputError, match=r"^params\.yaml: tune\.sampler") as error:
        make_sampler(tune_of(content, sampler=sampler), [], {})
    assert told in str(error.value)


def test_pruners() -> None:
    assert isinstance(make_pruner(None, []), optuna.pruners.NopPruner)
    assert isinstance(make_pruner(Target.model_validate("MedianPruner"), []), optuna.pruners.MedianPruner)
    with pytest.raises(InputError, match=r"tune\.pruner"):
        make_pruner(Target.model_validate("TPESampler"), [])


KEYS = {
    "train.optimizer": CategoricalDistribution(["SGD", "AdamW"]),
    "train.epochs": IntDistribution(1, 3),
    "train.lr": FloatDistribution(0.1, 0.3, step=0.1),
}


@pytest.mark.parametrize("sampler", ["TPESampler", "BruteForceSampler", "QMCSampler", "NSGAIISampler"])
@pytest.mark.parametrize("metrics", [1, 2])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_that_can_search_every_key(content: dict[str, Any], sampler: str, metrics: int) -> None:
    changes = {"metric": ["val/accuracy", "multiply_adds"][:metrics], "direction": ["maximize", "minimize"][:metrics]}
    make_sampler(tune_of(content, sampler=sampler, **changes), [], {}, KEYS)


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [
        ("BruteForceSampler", FloatDistribution(0.1, 0.3)),
        ("BruteForceSampler", FloatDistribution(0.1, 0.3, log=True)),
        ({"_target_": "GridSampler", "search_space": {"train.epochs": [1]}}, FloatDistribution(0.1, 0.3)),
        ({"_target_": "GridSampler", "search_space": {"train.lr": [7]}}, CategoricalDistribution([0.1, 0.2])),
    ],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_key_that_a_sampler_cannot_search_is_refused_before_the_first_trial(
    content: dict[str, Any], sampler: Any, kind: optuna.distributions.BaseDistribution
) -> None:
    with pytest.raises(
        InputError, match=r"params\.yaml: tune\.search_space\.train\.lr: (BruteForce|Grid)Sampler cannot search it \("
    ):
        make_sampler(tune_of(content, sampler=sampler), [], {}, {"train.lr": kind})


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_search_ends_with_the_last_combination(tmp_path: Path) -> None:
    space = {
        "train.lr": {"distribution": "categorical", "choices": [0.003, 0.01]},
        "train.epochs": {"distribution": "int", "low": 1, "high": 5, "step": 2},
    }
    found = []
    for _ in range(2):  # the second search of the same study finds nothing to do
        trials = open_trials(tmp_path, 20, search_space=space, sampler="BruteForceSampler")
        while (trial := trials.claim()) is not None:
            found.append(tuple(trials.settings(trial).values()))
            trials.tell(trial, TrialState.COMPLETE, values=[0.5])
            trials.release(trial)
        assert trials.is_exhausted
    assert sorted(found) == [(epochs, lr) for epochs in (1, 3, 5) for lr in (0.003, 0.01)]
