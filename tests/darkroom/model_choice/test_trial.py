"""A trial is the training of the stage, and its result that of the published weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.model_choice.trial import Trial
from darkroom.models.probe_network import Probe
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"train.model.kwargs": {"width": 4, "stages": 2}, "train.epochs": 2, "hardware.accelerator": "cpu"}


@pytest.fixture
def few(digits: Any) -> Split:
    rows = {name: each[:200] for name, each in digits.split.rows.items()}
    return Split(digits.split.classes, rows, "")


def test_a_trial_gives_what_the_training_gives(
    make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = make_params(SMALL)
    (measured,) = Trial(params, digits.pack, [few]).run()
    assert capsys.readouterr().out == "", "the search says what there is to say"
    store = StateStore(tmp_path, {})
    with store.held():
        best = fit(make_plan(params, digits.pack, few.rows["train"]), few, store)
    assert measured.published == best.measured(store.log_dir)["accuracy"] == pytest.approx(measured.right.mean())
    assert np.array_equal(measured.rows, few.rows["val"])
    assert measured.seconds > 0 < measured.images_per_second


@pytest.mark.parametrize("solver", ["logistic_regression", pytest.param(None, marks=pytest.mark.thorough)])
def test_a_probe_is_judged_on_every_fold_with_features_that_are_computed_once(
    make_params: Callable[..., Params], digits: Any, few: Split, monkeypatch: pytest.MonkeyPatch, solver: str | None
) -> None:
    probe = {"train.freeze": True, "train.cache_features": True, "train.augment": [], "train.fit_head": solver}
    params = make_params(SMALL | probe | {"train.epochs": 1})
    rows = few.rows["train"]
    second = Split(few.classes, {"train": np.sort(np.concatenate([rows[50:], few.rows["val"]])), "val": rows[:50]}, "")
    computed: list[int] = []
    original = Probe.features

    def features(probe: Probe, images: torch.Tensor) -> torch.Tensor:
        computed.append(len(images))
        return original(probe, images)

    trial = Trial(params, digits.pack, [few, second])
    monkeypatch.setattr(Probe, "features", features)
    first, other = trial.run()
    assert sum(number for number in computed if number > 2) == len(rows) + len(few.rows["val"])
    assert [len(each.right) for each in (first, other)] == [len(few.rows["val"]), 50]
    for each in (first, other):
        assert each.published == pytest.approx(each.right.mean())
    (alone,) = Trial(params, digits.pack, [second]).run()
    assert np.array_equal(alone.right, other.right), "as a training of its own"


def test_what_it_expects_grows_with_the_epochs(make_params: Callable[..., Params], digits: Any, few: Split) -> None:
    one = Trial(make_params(SMALL), digits.pack, [few]).expected
    many = Trial(make_params(SMALL | {"train.epochs": 200}), digits.pack, [few]).expected
    assert 1 < one < many
    assert many > 10


def test_its_cost_is_measured_without_an_effect(make_params: Callable[..., Params], digits: Any, few: Split) -> None:
    params = make_params(SMALL)
    trial = Trial(params, digits.pack, [few])
    plan = make_plan(params, digits.pack, few.rows["train"])
    for name, value in plan.classifier.network.state_dict().items():
        assert torch.equal(value, trial.plan.classifier.network.state_dict()[name])
