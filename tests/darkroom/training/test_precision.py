"""`train.precision: auto`: the faster one is chosen, once for a training, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.hardware import devices
from darkroom.training import precision
from darkroom.training.plan import Plan, make_plan
from darkroom.training.precision import resolve_precision


@pytest.fixture
def make(make_params: Callable[..., Params], digits: Any) -> Callable[..., Plan]:
    def made(changes: dict[str, Any] | None = None) -> Plan:
        params = make_params({"train.precision": "auto", "hardware.accelerator": "cpu"} | (changes or {}))
        return make_plan(params, digits.pack, digits.split.rows["train"])

    return made


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Callable[[Plan, float, float], list[bool]]:
    """Let a forward pass take so many seconds in full and in half precision; returns whether each was in half."""

    def set_clock(plan: Plan, full: float, half: float) -> list[bool]:
        passes: list[bool] = []
        now = 0.0

        def forward(network: nn.Module, images: Tensor) -> Tensor:
            nonlocal now
            passes.append(torch.is_autocast_enabled("cpu"))
            now += half if passes[-1] else full
            return original(network, images)

        original = type(plan.classifier.network).forward
        monkeypatch.setattr(type(plan.classifier.network), "forward", forward)
        monkeypatch.setattr(precision.time, "perf_counter", lambda: now)
        monkeypatch.setattr(precision, "is_fast_at_bf16", lambda _: True)
        return passes

    return set_clock


@pytest.mark.parametrize(
    ("half", "chosen", "gain"), [(0.5, "bf16-mixed", "2.00"), (0.95, "32-true", "1.05"), (2.0, "32-true", "0.50")]
)
def test_the_clearly_faster_one_is_chosen(
    make: Any, clocked: Any, capsys: pytest.CaptureFixture[str], half: float, chosen: str, gain: str
) -> None:
    plan = make()
    passes = clocked(plan, 1.0, half)
    found = resolve_precision(plan)
    assert (
        capsys.readouterr().out
        == f"train.precision: computes in {chosen}: a step in bf16-mixed is {gain} times as fast as in 32-true\n"
    )
    assert (found.params.train.precision, found.about["precision"]) == (chosen, chosen)
    assert passes == [False, True] * (precision.STEPS + 1)


def test_it_leaves_no_trace(make: Any, clocked: Any) -> None:
    plan = make()
    weights = {name: value.clone() for name, value in plan.classifier.network.state_dict().items()}
    random = torch.get_rng_state()
    clocked(plan, 1.0, 0.5)
    found = resolve_precision(plan).classifier.network
    assert all(torch.equal(value, weights[name]) for name, value in found.state_dict().items())
    assert all(parameter.grad is None for parameter in found.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_training_that_goes_on_does_not_choose_anew(make: Any, clocked: Any, tmp_path: Path, capsys: Any) -> None:
    plan, memory = make(), tmp_path / "precision.json"
    passes = clocked(plan, 1.0, 0.5)
    assert resolve_precision(plan, memory).params.train.precision == "bf16-mixed"
    del passes[:]
    clocked(plan, 1.0, 2.0)
    assert resolve_precision(plan, memory).params.train.precision == "bf16-mixed"
    assert passes == []
    memory.write_text(memory.read_text().replace("bf16", "bf15"))
    capsys.readouterr()
    assert resolve_precision(plan, memory).params.train.precision == "32-true"
    assert "precision.json: is damaged" in (said := capsys.readouterr()).err + said.out
    assert resolve_precision(plan, memory).params.train.precision == "32-true"


def test_nothing_is_tried_in_vain(make: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "is_fast_at_bf16", lambda _: False)
    monkeypatch.setattr(precision, "_timed", None)
    assert resolve_precision(make()).params.train.precision == "32-true"
    assert capsys.readouterr().out == "train.precision: computes in 32-true: this cpu has no instructions for half precision\n"
    plan = make({"train.precision": "64-true"})
    assert resolve_precision(plan) is plan
    monkeypatch.setattr(precision, "is_fast_at_bf16", lambda _: True)
    assert resolve_precision(
        make({"train.precision": "auto", "train.freeze": True, "train.cache_features": True, "train.augment": []})
    )
    assert "computes in 32-true: only the head is trained" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"hardware.devices": 2}, {"hardware.num_nodes": 2}])
def test_several_devices_would_not_agree(make_params: Callable[..., Params], changes: dict[str, int]) -> None:
    hardware = make_params({"hardware.accelerator": "cpu"} | changes).hardware
    with pytest.raises(InputError, match=r"^params.yaml: train.precision: auto is measured on one device, but 2 are used"):
        devices.check_precision("auto", hardware)
