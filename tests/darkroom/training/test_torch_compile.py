"""A compiled network trains alike, keeps the names of its parts, and says what it cost."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch._inductor import config

from darkroom.base.errors import RunError
from darkroom.base.params import Params
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "train.model.kwargs": {"width": 4, "stages": 1},
    "train.epochs": 2,
    "train.trainer": {"limit_train_batches": 3, "limit_val_batches": 1},
    "train.optimizer": {"_target_": "SGD", "momentum": 0.9},  # AdamW takes rounding for gradients where there are none
    "train.ema": 0.5,  # validated as it is: compiling it as well would double the time
    "hardware.accelerator": "cpu",
}


@pytest.fixture
def _compiles_at_once() -> Iterator[None]:
    """Let the compiler start no processes, and trust the processor in what it can do rather than try each kind of code."""
    with config.patch({"compile_threads": 1, "cpp.vec_isa_ok": True}):
        yield


@pytest.fixture
def trained(make_params: Callable[..., Params], digits: Any, tmp_path: Any) -> Callable[..., Any]:
    def train(**changes: Any) -> Any:
        params = make_params(SMALL | {f"train.{key}": value for key, value in changes.items()})
        store = StateStore(tmp_path / str(changes), {})
        with store.held():
            return fit(make_plan(params, digits.pack, digits.split.rows["train"]), digits.split, store)

    return train


@pytest.mark.usefixtures("_compiles_at_once")
def test_it_learns_the_same_and_says_what_it_cost(trained: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    plain = trained(compile=None)
    assert "train.compile" not in capsys.readouterr().out
    compiled = trained(compile="default")
    found = re.search(r"train.compile: took ([\d.]+) s of the training's ([\d.]+) s", capsys.readouterr().out)
    assert found
    assert 0 < float(found[1]) <= float(found[2])
    assert plain.weights.keys() == compiled.weights.keys()
    one, other = (torch.cat([value.flatten() for value in each.weights.values()]) for each in (plain, compiled))
    assert (one - other).norm() < 1e-3 * one.norm()


def test_without_a_compiler_there_is_a_way_out(trained: Callable[..., Any]) -> None:
    torch._dynamo.reset()
    no_compiler = config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    message = r"train\.compile: this network cannot be compiled here .*set it to null, or install"
    with no_compiler, pytest.raises(RunError, match=message) as raised:
        trained(compile="default")
    assert "\n" not in str(raised.value)
