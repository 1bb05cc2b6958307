"""`auto` of precision and memory format: the fastest way is chosen, once for a training, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.hardware import devices
from darkroom.hardware.processes import check_processes
from darkroom.models.preprocessing import Normalized
from darkroom.training import auto_precision
from darkroom.training.auto_precision import resolve_auto
from darkroom.training.checkpoints.resume_from import Earlier
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import Plan, make_plan

BOTH = {"train.precision": "auto", "train.memory_format": "auto"}


@pytest.fixture
def make(make_params: Callable[..., Params], digits: Any) -> Callable[..., Plan]:
    def made(changes: dict[str, Any] | None = None) -> Plan:
        params = make_params({"train.precision": "auto", "hardware.accelerator": "cpu"} | (changes or {}))
        return make_plan(params, digits.pack, digits.split.rows["train"])

    return made


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[bool, bool]]]:
    """Let a forward pass take so many seconds by precision and format; returns whether each was half, and contiguous."""

    def set_clock(plan: Plan, full: float, half: float, *, contiguous: float = 1.0) -> list[tuple[bool, bool]]:
        passes: list[tuple[bool, bool]] = []
        now = 0.0

        def forward(network: Any, images: Tensor) -> Tensor:
            nonlocal now
            passes.append((torch.is_autocast_enabled("cpu"), network.memory_format == "contiguous"))
            now += (half if passes[-1][0] else full) * (contiguous if passes[-1][1] else 1)
            return original(network, images)

        original = type(plan.classifier.network).forward
        monkeypatch.setattr(type(plan.classifier.network), "forward", forward)
        for clock in ("perf_counter", "thread_time"):
            monkeypatch.setattr(auto_precision.time, clock, lambda: now)
        monkeypatch.setattr(auto_precision, "is_fast_at_bf16", lambda _: True)
        return passes

    return set_clock


@pytest.fixture
def convolved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """Whether the images and the weights of each convolution of several channels have their channels last."""
    seen: list[tuple[bool, bool]] = []

    def forward(layer: nn.Conv2d, images: Tensor) -> Tensor:
        if min(layer.in_channels, *layer.kernel_size) > 1:  # any other is both at once
            seen.append(tuple(each.is_contiguous(memory_format=torch.channels_last) for each in (images, layer.weight)))
        return original(layer, images)

    original = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    return seen


@pytest.mark.parametrize(("half", "chosen", "said"), [(5, "bf16-mixed", "5.0"), (9.5, "32-true", "9.5"), (20, "32-true", "20.0")])
def test_the_clearly_faster_one_is_chosen(
    make: Any, clocked: Any, capsys: pytest.CaptureFixture[str], half: float, chosen: str, said: str
) -> None:
    plan = make()
    passes = clocked(plan, 0.01, half / 1000)
    found = resolve_auto(plan)
    why = f"a step of some images takes ms: 10.0 in 32-true, {said} in bf16-mixed"
    assert capsys.readouterr().out == f"train.precision: computes in {chosen}: {why}\n"
    assert (found.params.train.precision, found.about["precision"]) == (chosen, chosen)
    assert passes == [(False, False), (True, False)] * (auto_precision.STEPS + 3)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("half", "contiguous", "chosen"),
    [
        (0.005, 1.5, ("bf16-mixed", "channels_last")),
        (0.005, 0.5, ("bf16-mixed", "contiguous")),
        (0.005, 0.95, ("bf16-mixed", "channels_last")),  # what is not clearly faster stays as it is usually
        (0.02, 0.8, ("32-true", "contiguous")),
    ],
)
def test_both_are_chosen_in_one_measurement(
    make: Any, clocked: Any, capsys: Any, half: float, contiguous: float, chosen: tuple[str, str]
) -> None:
    plan = make(BOTH)
    clocked(plan, 0.01, half, contiguous=contiguous)
    found = resolve_auto(plan)
    assert (found.about["precision"], found.about["memory_format"]) == chosen
    assert found.computes == dict(zip(auto_precision.KEYS, chosen, strict=True))
    line = capsys.readouterr().out
    assert line.startswith(f"train.precision and train.memory_format: computes in {chosen[0]}, {chosen[1]}: a step")
    assert line.count("\n") == 1
    assert all(f" in {way} {form}" in line for way in ("32-true", "bf16-mixed") for form in ("channels_last", "contiguous"))


def test_a_format_is_chosen_for_a_given_precision(make: Any, clocked: Any, capsys: Any) -> None:
    plan = make({"train.precision": "64-true", "train.memory_format": "auto"})
    clocked(plan, 0.01, 0.0, contiguous=0.5)
    found = resolve_auto(plan)
    assert found.computes == {"precision": "64-true", "memory_format": "contiguous"}
    assert "train.memory_format: computes in contiguous: a step of some images takes ms: 10.0 in channels_last, 5.0 in " in (
        capsys.readouterr().out
    )


def test_the_trials_end_in_time(make: Any, clocked: Any) -> None:
    plan = make(BOTH)
    passes = clocked(plan, 0.4, 0.2)
    resolve_auto(plan)
    # Two rounds for the size, and as few as can be compared.
    assert len(passes) == 4 * (2 + 2)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
@pytest.mark.parametrize(
    "changes", [{}, {"train.ema": 0.9}, {"train.freeze": True, "train.cache_features": True, "train.augment": []}]
)
def test_a_format_is_that_of_every_convolution(
    make: Any, convolved: Any, digits: Any, memory_format: str, changes: dict[str, Any]
) -> None:
    plan = make({"train.precision": "32-true", "train.memory_format": memory_format} | changes)
    images = plan.images[0, digits.split.rows["train"][:4]]["images"]
    del convolved[:]
    with torch.no_grad():
        plan.classifier.network(images)
        plan.classifier.published(images)
    is_last = memory_format == "channels_last"
    assert set(convolved) == {(is_last, is_last)}


def test_what_is_chosen_is_that_of_the_average_too(make: Any, clocked: Any, convolved: Any, digits: Any) -> None:
    plan = make(BOTH | {"train.ema": 0.9})
    clocked(plan, 0.01, 0.02, contiguous=0.5)
    found = resolve_auto(plan)
    networks = [part for part in found.classifier.modules() if isinstance(part, Normalized)]
    assert [network.memory_format for network in networks] == ["contiguous", "contiguous"]
    del convolved[:]
    found.classifier.published(plan.images[0, digits.split.rows["train"][:4]]["images"])
    assert set(convolved) == {(False, False)}


def test_it_leaves_no_trace(make: Any, clocked: Any) -> None:
    plan = make(BOTH)
    weights = {name: value.clone() for name, value in plan.classifier.network.state_dict().items()}
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    clocked(plan, 0.01, 0.005)
    found = resolve_auto(plan).classifier.network
    assert all(torch.equal(value, weights[name]) for name, value in found.state_dict().items())
    assert all(parameter.grad is None for parameter in found.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads


def test_a_training_that_goes_on_does_not_choose_anew(make: Any, clocked: Any, tmp_path: Path, capsys: Any) -> None:
    plan, memory = make(BOTH), tmp_path / "auto.json"
    passes = clocked(plan, 0.01, 0.005, contiguous=0.5)
    chosen = {"precision": "bf16-mixed", "memory_format": "contiguous"}
    assert resolve_auto(plan, memory).computes == chosen
    plan = make(BOTH)
    del passes[:]
    clocked(plan, 0.01, 0.02)
    assert resolve_auto(plan, memory).computes == chosen
    assert plan.classifier.network.memory_format == "contiguous"
    assert passes == []
    memory.write_text(memory.read_text().replace("bf16", "bf15"))
    capsys.readouterr()
    usual = {"precision": "32-true", "memory_format": "channels_last"}
    assert resolve_auto(plan, memory).computes == usual
    assert "auto.json: is damaged" in (said := capsys.readouterr()).err + said.out
    assert resolve_auto(plan, memory).computes == usual


@pytest.mark.thorough
def test_a_state_says_how_it_was_computed(make: Any, clocked: Any, digits: Any, tmp_path: Path) -> None:
    plan = make(BOTH | {"train.epochs": 1, "train.trainer": {"limit_train_batches": 1, "limit_val_batches": 1}})
    clocked(plan, 0.01, 0.02, contiguous=0.5)
    plan = resolve_auto(plan)
    store = StateStore(tmp_path, {})
    with store.held():
        fit(plan, digits.split, store)
        state = store.latest()
    assert state is not None
    chosen = {"precision": "32-true", "memory_format": "contiguous"}
    assert Earlier("a1b2c3d", None, state=state).computes == chosen  # type: ignore[arg-type]
    assert {key: plan.about[key] for key in chosen} == chosen


@pytest.mark.parametrize(
    ("recorded", "chosen"),
    [
        ({"precision": "bf16-mixed", "memory_format": "contiguous"}, "contiguous"),
        ({"precision": "bf16-mixed"}, "channels_last"),  # by a version that knew no other
    ],
)
def test_resume_from_keeps_what_the_earlier_training_chose(
    make_params: Any, digits: Any, monkeypatch: Any, recorded: dict[str, str], chosen: str
) -> None:
    params = make_params(BOTH | {"hardware.accelerator": "cpu"})
    earlier = Earlier("a1b2c3d", None, state={"darkroom": recorded})  # type: ignore[arg-type]
    plan = make_plan(params, digits.pack, digits.split.rows["train"], earlier=earlier)
    monkeypatch.setattr(auto_precision, "_timed", None)
    assert resolve_auto(plan).computes == {"precision": "bf16-mixed", "memory_format": chosen}


def test_nothing_is_tried_in_vain(make: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_precision, "is_fast_at_bf16", lambda _: False)
    monkeypatch.setattr(auto_precision, "_timed", None)
    assert resolve_auto(make()).params.train.precision == "32-true"
    assert capsys.readouterr().out == "train.precision: computes in 32-true: this cpu has no instructions for half precision\n"
    plan = make({"train.precision": "64-true"})
    assert resolve_auto(plan) is plan
    monkeypatch.setattr(auto_precision, "is_fast_at_bf16", lambda _: True)
    assert resolve_auto(make(BOTH | {"train.freeze": True, "train.cache_features": True, "train.augment": []}))
    assert "computes in 32-true, channels_last: only the head is trained" in capsys.readouterr().out


@pytest.mark.parametrize("changes", [{"hardware.devices": 2}, {"hardware.num_nodes": 2}])
def test_several_devices_would_not_agree(make_params: Callable[..., Params], changes: dict[str, int]) -> None:
    hardware = make_params({"hardware.accelerator": "cpu"} | changes).hardware
    with pytest.raises(InputError, match=r"^params.yaml: train.precision: auto is measured on one device, but 2 are used"):
        devices.check_precision("auto", hardware)


@pytest.mark.parametrize(("name", "said"), [("precision", "precision"), ("memory_format", "memory format")])
def test_several_processes_are_refused_before_the_data(make_params: Callable[..., Params], name: str, said: str) -> None:
    params = make_params({"train.processes": 2, "hardware.devices": 2})
    check_processes(params, 2)
    params = make_params({"train.processes": 2, "hardware.devices": 2, f"train.{name}": "auto"})
    with pytest.raises(InputError, match=rf"^params.yaml: train.{name}: auto is measured .* set the {said} that it reports$"):
        check_processes(params, 2)
