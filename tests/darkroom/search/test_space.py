"""The settings of trials; errors of a space are reported before the first trial."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from darkroom.base.errors import InputError
from darkroom.base.params_file import check_params
from darkroom.experiments.overrides import with_settings
from darkroom.search.space import Space, distribution, labels

SGD, ADAM = {"_target_": "torch.optim.SGD"}, {"_target_": "torch.optim.AdamW", "weight_decay": 0.01}
OPTIMIZER = {"distribution": "categorical", "choices": [SGD, ADAM]}
MOMENTUM = {"distribution": "float", "low": 0, "high": 0.9, "when": {"train.optimizer": "SGD"}}


@pytest.fixture
def make_space(content: dict[str, Any]) -> Callable[[dict[str, Any]], Space]:
    def make(search_space: dict[str, Any]) -> Space:
        content["tune"]["search_space"] = search_space
        return Space(check_params(content).tune.search_space, content)

    return make


def test_keys_are_set_after_the_mapping_that_holds_them_and_only_when_they_apply(
    make_space: Callable[..., Space], content: dict[str, Any]
) -> None:
    space = make_space({"train.optimizer.momentum": MOMENTUM, "train.optimizer": OPTIMIZER})
    with_sgd = space.suggest(lambda key, _: {"train.optimizer": "SGD", "train.optimizer.momentum": 0.5}[key])
    assert with_settings(content, with_sgd)["train"]["optimizer"] == {"_target_": "torch.optim.SGD", "momentum": 0.5}
    with_adam = space.suggest(lambda key, _: {"train.optimizer": "AdamW"}[key])
    assert with_settings(content, with_adam)["train"]["optimizer"] == ADAM
    assert space.content["train"]["optimizer"] == ADAM
    assert "momentum" not in SGD


def test_conditions_may_depend_on_conditions(make_space: Callable[..., Space]) -> None:
    nesterov = {"distribution": "categorical", "choices": [True, False], "when": {"train.optimizer": ["SGD"]}}
    damped = {"distribution": "float", "low": 0.1, "high": 0.5, "when": {"train.optimizer.nesterov": False}}
    space = make_space({"train.optimizer.dampening": damped, "train.optimizer.nesterov": nesterov, "train.optimizer": OPTIMIZER})
    chosen: dict[str, Any] = {"train.optimizer": "SGD", "train.optimizer.nesterov": False, "train.optimizer.dampening": 0.2}
    assert set(space.suggest(lambda key, _: chosen[key])) == set(chosen)
    chosen["train.optimizer.nesterov"] = True
    assert "train.optimizer.dampening" not in space.suggest(lambda key, _: chosen[key])


def test_what_params_yaml_has_is_known_where_the_space_can_express_it(make_space: Callable[..., Space]) -> None:
    space = make_space(
        {
            "train.optimizer": OPTIMIZER,
            "train.lr": {"distribution": "float", "low": 0.001, "high": 0.1, "log": True},
            "train.epochs": {"distribution": "int", "low": 5, "high": 15, "step": 5},
        }
    )
    assert space.of_params() == {"train.optimizer": "AdamW", "train.lr": 0.01}  # 20 epochs are outside


@pytest.mark.parametrize(
    ("tried", "expected"),
    [
        ({"distribution": "float", "low": 1e-4, "high": 0.9, "log": True}, FloatDistribution(1e-4, 0.9, log=True)),
        ({"distribution": "float", "low": 0.3, "high": 0.99, "step": 0.3}, FloatDistribution(0.3, 0.9, step=0.3)),
        ({"distribution": "int", "low": 1, "high": 10, "step": 4}, IntDistribution(1, 9, step=4)),
        ({"distribution": "int", "low": 1, "high": 64, "log": True}, IntDistribution(1, 64, log=True)),
        ({"distribution": "categorical", "choices": [16, 32]}, CategoricalDistribution([16, 32])),
    ],
)
def test_distributions(make_space: Callable[..., Space], tried: dict[str, Any], expected: Any) -> None:
    key = "train.batch_size" if tried["distribution"] != "float" else "train.ema"
    assert distribution(make_space({key: tried}).keys[key]) == expected


FLOAT, LOG_FLOAT = FloatDistribution(0.5, 0.9), FloatDistribution(0.5, 0.9, log=True)
STEPS, INT = FloatDistribution(0.5, 0.9, step=0.2), IntDistribution(2, 16)
LOG_INT, EVEN, CHOICES = IntDistribution(2, 16, log=True), IntDistribution(2, 16, step=2), CategoricalDistribution([16, 32])


@pytest.mark.parametrize(
    ("key", "tried", "expected"),
    [
        *(
            ("train.ema", {name: kind, "low": 0.5, "high": 0.9} | more, expected)
            for name, kind, more, expected in [
                ("distribution", "uniform", {}, FLOAT),
                ("distribution", "loguniform", {}, LOG_FLOAT),
                ("distribution", "log_uniform", {"log": True}, LOG_FLOAT),
                ("distribution", "discrete_uniform", {"q": 0.2}, STEPS),
                ("type", "float", {}, FLOAT),
                ("type", "float", {"log": True}, LOG_FLOAT),
                ("type", "float", {"step": 0.2}, STEPS),
                ("type", "suggest_loguniform", {}, LOG_FLOAT),
                ("type", "DiscreteUniformDistribution", {"q": 0.2}, STEPS),
                ("_target_", "optuna.distributions.LogUniformDistribution", {}, LOG_FLOAT),
                ("_target_", "optuna.distributions.UniformDistribution", {}, FLOAT),
            ]
        ),
        *(
            ("train.batch_size", {name: kind, "low": 2, "high": 16} | more, expected)
            for name, kind, more, expected in [
                ("distribution", "int_uniform", {}, INT),
                ("distribution", "int_loguniform", {}, LOG_INT),
                ("type", "int", {"log": True}, LOG_INT),
                ("type", "int", {"step": 2}, EVEN),
                ("type", "suggest_int", {}, INT),
                ("type", "IntLogUniformDistribution", {}, LOG_INT),
            ]
        ),
        ("train.batch_size", {"type": "categorical", "choices": [16, 32]}, CHOICES),
        ("train.batch_size", {"distribution": "choice", "choices": [16, 32]}, CHOICES),
        ("train.batch_size", [16, 32], CHOICES),
        ("train.batch_size", "choice(16, 32)", CHOICES),
        ("train.batch_size", "16,32", CHOICES),
        ("train.batch_size", "int(choice(16.0, 32.0))", CHOICES),
        ("train.batch_size", "int(interval(2, 16))", INT),
        ("train.batch_size", "tag(log, int(interval(2, 16)))", LOG_INT),
        ("train.batch_size", "range(2, 16, step=2)", EVEN),
        ("train.ema", "interval(0.5, 0.9)", FLOAT),
        ("train.ema", "tag(log, interval(5e-1, 9e-1))", LOG_FLOAT),
        ("train.ema", "range(0.5, 0.9, 0.2)", STEPS),
        ("train.lr", "interval(1, 2)", FloatDistribution(1.0, 2.0)),
        ("train.sampler", "choice(shuffled, 'balanced')", CategoricalDistribution(["shuffled", "balanced"])),
        ("train.mixup", "choice(null, 2e-1)", CategoricalDistribution([None, 0.2])),
    ],
)
def test_notations_of_older_optuna_and_hydra_become_todays_distributions(
    make_space: Callable[..., Space], key: str, tried: Any, expected: Any
) -> None:
    assert distribution(make_space({key: tried}).keys[key]) == expected


def test_a_study_knows_its_space_in_either_notation(make_space: Callable[..., Space]) -> None:
    old, new = {"type": "loguniform", "low": 0.1, "high": 0.9}, {"distribution": "float", "low": 0.1, "high": 0.9, "log": True}
    assert make_space({"train.ema": old}).as_json() == make_space({"train.ema": new}).as_json()


def test_labels_of_choices_are_unique() -> None:
    assert labels([SGD, ADAM, None, 3]) == ["SGD", "AdamW", None, 3]
    assert labels([ADAM, {**ADAM, "weight_decay": 0.1}, [1, 2]])[1:] == [
        '{"_target_": "torch.optim.AdamW", "weight_decay": 0.1}',
        "[1, 2]",
    ]


NUMBERS = {"distribution": "float", "low": 0.001, "high": 0.1}


@pytest.mark.parametrize(
    ("search_space", "told"),
    [
        ({}, "tune.search_space: is empty; add keys"),
        ({"train.lrr": NUMBERS}, "tune.search_space.train.lrr: unknown key; did you mean 'lr'?"),
        ({"trian.lr": NUMBERS}, "tune.search_space.trian.lr: training does not depend on it"),
        ({"hardware.devices": NUMBERS}, "tune.search_space.hardware.devices: training does not depend on it"),
        ({"lr": NUMBERS}, 'tune.search_space.lr: is "lr", but should be a key of params.yaml such as train.lr'),
        ({"train.lr": {**NUMBERS, "low": 1.0}}, "tune.search_space.train.lr: low 1.0 is above high 0.1; swap them"),
        ({"train.lr": {**NUMBERS, "low": 0.0}}, "tune.search_space.train.lr: is 0.0, but should be greater than 0"),
        ({"train.lr": {**NUMBERS, "low": 0.0, "log": True}}, "log needs a low above 0"),
        ({"train.lr": {**NUMBERS, "lo": 0.0}}, "tune.search_space.train.lr.lo: unknown key; did you mean 'low'?"),
        ({"train.lr": {"distribution": "float", "choices": [1]}}, "float has low and high, and no choices"),
        ({"train.epochs": {**NUMBERS, "distribution": "int"}}, "int has whole numbers for low, high and step"),
        (
            {"train.batch_size": {"distribution": "categorical", "choices": [32, "many"]}},
            'tune.search_space.train.batch_size: is "many"',
        ),
        (
            {"train.lr": {**NUMBERS, "distribution": "loguniformm"}},
            "train.lr: 'loguniformm' is not a distribution; did you mean 'loguniform'?",
        ),
        (
            {"train.lr": {"type": "int_loguni", "low": 1, "high": 2}},
            "'int_loguni' is not a distribution; did you mean 'int_loguniform'?",
        ),
        (
            {"train.lr": {"type": "beta", "low": 1, "high": 2}},
            "'beta' is not a distribution; use one of float, uniform, loguniform",
        ),
        ({"train.lr": {**NUMBERS, "distribution": "discrete_uniform"}}, "train.lr: discrete_uniform has no step; add q or step"),
        (
            {"train.lr": {**NUMBERS, "distribution": "loguniform", "log": False}},
            "loguniform is on a logarithmic scale, but log is",
        ),
        ({"train.lr": "intervall(0.1, 1)"}, "train.lr: 'intervall' is not a distribution; did you mean 'interval'?"),
        ({"train.lr": "interval(0.1)"}, "train.lr: 'interval(0.1)' has wrong arguments"),
        ({"train.lr": "interval(0.1, step=2)"}, "has wrong arguments"),
        ({"train.lr": "interval(low, 2)"}, "has wrong arguments"),
        ({"train.lr": "interval(0.1, 1"}, "'interval(0.1, 1' is not a distribution; write {distribution: …}"),
        ({"train.lr": "tag(fast, interval(0.1, 1))"}, "has another tag than log; write tag(log, interval(low, high))"),
        ({"train.batch_size": "int(choice(many))"}, "'int(choice(many))' has wrong arguments"),
        ({"train.epochs": "interval(1, 9)"}, "tune.search_space.train.epochs: is 1.0, but should be"),
        ({"train.lr.fast": NUMBERS}, "tune.search_space.train.lr.fast: lr is not a mapping here"),
        ({"train.optimizer.momentum": MOMENTUM}, "train.optimizer is not another key of the space with choices"),
        (
            {"train.optimizer.momentum": {**MOMENTUM, "when": {"train.optimizer": "SDG"}}, "train.optimizer": OPTIMIZER},
            "train.optimizer is never SDG; name one of SGD, AdamW",
        ),
        (
            {
                "train.sampler": {"distribution": "categorical", "choices": ["shuffled"], "when": {"train.log_every": "step"}},
                "train.log_every": {"distribution": "categorical", "choices": ["step"], "when": {"train.sampler": "shuffled"}},
            },
            "depends on itself",
        ),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_key(
    make_space: Callable[..., Space], search_space: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError) as error:
        make_space(search_space)
    assert str(error.value).startswith("params.yaml: tune.")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metric": "val/acuracy"}, "tune.metric: is val/acuracy, which is not measured; did you mean 'val/accuracy'?"),
        ({"metric": "test/accuracy"}, 'tune.metric: is "test/accuracy"'),
        ({"metric": ["val/loss", "parameters"]}, "tune.direction: has 1 for 2 metrics"),
        ({"metric": ["val/loss", "parameters"], "direction": ["minimize", "minimize"]}, "tune.pruner: cannot compare"),
        ({"metric": "parameters"}, "tune.pruner: parameters is the same in every epoch"),
        ({"study": "my study"}, 'tune.study: is "my study", but should be a name of letters'),
    ],
)
def test_errors_in_other_keys_of_tune(content: dict[str, Any], changes: dict[str, Any], told: str) -> None:
    content = copy.deepcopy(content)
    content["tune"] |= changes
    with pytest.raises(InputError, match=r"^params\.yaml: tune") as error:
        check_params(content)
    assert told in str(error.value)
