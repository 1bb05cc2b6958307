"""Averages of weights against ones that are computed beside them, and that they are what is validated and published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.training import fit as fitting
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.plan import make_plan
from darkroom.training.trainer import make_trainer

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "train.model.kwargs": {"width": 4, "stages": 2},
    "train.batch_size": 16,
    "train.epochs": 4,
    "hardware.accelerator": "cpu",
    "train.early_stopping": None,
}
Weights = dict[str, torch.Tensor]


class Recorder(pl.Callback):
    """The weights after every step, and what validation sees at the end of every epoch."""

    def __init__(self) -> None:
        self.steps: list[Weights] = []
        self.validated: list[Weights] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:  # noqa: ARG002
        self.steps.append(copy_of(pl_module.network))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        self.validated.append(copy_of(pl_module.published))


def copy_of(network: torch.nn.Module) -> Weights:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def train(params: Params, data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Recorder, KeepBest]:
    recorder, rows = Recorder(), data.split.rows
    monkeypatch.setattr(
        fitting,
        "make_trainer",
        lambda params, callbacks, *rest, **named: make_trainer(params, [*callbacks, recorder], *rest, **named),
    )
    split = Split(data.split.classes, {"train": rows["train"][:64], "val": rows["val"][:40], "test": rows["test"]}, "")
    store = StateStore(folder, {})
    with store.held():
        return recorder, fitting.fit(make_plan(params, data.pack, split.rows["train"]), split, store)


def assert_close(found: Weights, expected: Weights) -> None:
    for name, value in expected.items():
        assert torch.allclose(found[name].double(), value.double(), atol=1e-5), name


@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_the_exponential_average_is_the_one_computed_beside_it(
    decay: float, make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, best = train(make_params(SMALL | {"train.ema": decay}), digits, tmp_path, monkeypatch)
    average = recorder.steps[0]
    expected = []
    for number, weights in enumerate(recorder.steps, 1):
        if number > 1:
            keep = min(decay, 1 - number ** -(2 / 3))
            average = {
                name: keep * average[name] + (1 - keep) * value if value.is_floating_point() else value
                for name, value in weights.items()
            }
        if number % 4 == 0:
            expected.append(average)
    assert len(recorder.validated) == 4
    for found, wanted in zip(recorder.validated, expected, strict=True):
        assert_close(found, wanted)
    assert_close(best.weights, expected[best.epoch - 1])
    assert not torch.equal(recorder.validated[-1]["network.head.weight"], recorder.steps[-1]["network.head.weight"])


def test_the_mean_of_the_last_epochs(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, _ = train(make_params(SMALL | {"train.swa": 0.5}), digits, tmp_path, monkeypatch)
    ends = recorder.steps[3::4]
    assert_close(recorder.validated[0], ends[0])
    assert_close(recorder.validated[1], ends[1])
    assert_close(recorder.validated[2], ends[2])
    mean = {name: (value + ends[3][name]) / 2 if value.is_floating_point() else ends[3][name] for name, value in ends[2].items()}
    assert_close(
        {name: value for name, value in recorder.validated[3].items() if value.is_floating_point()},
        {name: value for name, value in mean.items() if value.is_floating_point()},
    )


def test_two_averages_are_refused(make_params: Callable[..., Params]) -> None:
    with pytest.raises(InputError, match=r"train\.ema and train\.swa: are .*, but only one average can be published"):
        make_params({"train.ema": 0.9, "train.swa": 0.5})


def test_adaptive_clipping_keeps_steps_small(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sgd = {"train.optimizer": "SGD", "train.scheduler": None, "train.lr": 1.0, "train.epochs": 1}
    recorder, _ = train(make_params(SMALL | sgd | {"train.adaptive_clip": 0.01}), digits, tmp_path, monkeypatch)
    name = "network.stem.0.weight" if "network.stem.0.weight" in recorder.steps[0] else next(iter(recorder.steps[0]))
    before, after = (recorder.steps[number][name].flatten(1).norm(dim=1) for number in (0, 1))
    change = (recorder.steps[1][name] - recorder.steps[0][name]).flatten(1).norm(dim=1)
    assert (change <= 0.0101 * before.clamp(min=1e-3)).all()
    assert not torch.equal(before, after)
