"""`auto` of `train.precision` and `train.memory_format`: how a network trains fastest on this device, tried once per training.

The processor's flags are not enough: in bfloat16, full convolutions train up to twice as fast, with AMX and their channels last
four times, depthwise ones slower.
"""

import copy
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from darkroom.base import files, paths
from darkroom.base.errors import warn
from darkroom.base.params import TrainParams
from darkroom.hardware.devices import choose_device, is_fast_at_bf16
from darkroom.models.preprocessing import use_memory_format
from darkroom.models.probe_network import Probe
from darkroom.training.plan import Plan
from darkroom.training.weight_gradients import fast_weight_gradients

FULL, CHANNELS_LAST = "32-true", "channels_last"
KEYS = ("precision", "memory_format")
STEPS = 5
# For all trials together.
MOST_SECONDS = 5.0
# A part of a larger batch shows the same in less time.
MOST_IMAGES = 64
# Half precision, or another format than is usual, must gain more than the noise of the measurement.
LEAST_GAIN = 1.1
# Of networks whose weights are converted before the first step.
DTYPES = {"bf16-true": torch.bfloat16, "64-true": torch.float64}


class Way(NamedTuple):
    """A way to compute a step; its fields are keys of `train`."""

    precision: str
    memory_format: str

    def __str__(self) -> str:
        return f"{self.precision} {self.memory_format}"


def resolve_auto(plan: Plan, memory: Path | None = None) -> Plan:
    """Return a plan with a precision and a memory format in place of `auto`.

    Parameters
    ----------
    plan
        The training; the values of its weights and torch's generators are not changed.
    memory
        File with the choice, so that a resumed or repeated training computes the same way.
    """
    train = plan.params.train
    keys = [key for key in KEYS if getattr(train, key) == "auto"]
    if not keys:
        return plan
    known = (_remembered(memory) if memory else {}) or (plan.earlier.computes if plan.earlier else {})
    if not set(keys) <= set(known):
        known, why = _chosen(plan, choose_device(plan.params.hardware))
        named = " and ".join(f"train.{key}" for key in keys)
        print(f"{named}: computes in {', '.join(known[key] for key in keys)}: {why}", flush=True)
        if memory:
            files.write_sealed_json(memory, known)
    use_memory_format(plan.classifier, known["memory_format"] if "memory_format" in keys else train.memory_format)
    train = train.model_copy(update={key: known[key] for key in keys})
    return replace(plan, params=plan.params.model_copy(update={"train": train}))


def _remembered(memory: Path) -> dict[str, str]:
    try:
        found = files.read_sealed_json(memory)
        return {key: str(found[key]) for key in KEYS}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError) as error:
        warn(f"{paths.shown(memory)}: is damaged ({error}); how to compute is chosen again")
        return {}


def _chosen(plan: Plan, device: torch.device) -> tuple[dict[str, str], str]:
    """Return how to compute, by key of `train`, and the reason for it."""
    ways, why = _candidates(plan, device)
    if len(ways) == 1:
        return ways[0]._asdict(), why
    seconds = _timed(plan.classifier.network, _images(plan).to(device), ways, plan.params.train)
    best = min(ways, key=lambda way: seconds[way] * LEAST_GAIN ** _departures(way, ways[0]))
    # Only what differs among them is named.
    varies = [key for key in KEYS if len({getattr(way, key) for way in ways}) > 1]
    each = (f"{1000 * seconds[way]:.1f} in {' '.join(getattr(way, key) for key in varies)}" for way in ways)
    return best._asdict(), f"a step of some images takes ms: {', '.join(each)}"


def _departures(way: Way, usual: Way) -> int:
    """Return in how many respects a way is not the usual one."""
    return sum(one != other for one, other in zip(way, usual, strict=True))


def _candidates(plan: Plan, device: torch.device) -> tuple[list[Way], str]:
    """Return the ways to try, first the usual one; if there is one alone, also why."""
    train = plan.params.train
    usual = _usual(train)
    if isinstance(plan.classifier.network, Probe):
        return [usual], "only the head is trained, on features that are computed once"
    half = _half(device)
    precisions = [usual.precision, *([half] if train.precision == "auto" and half else [])]
    formats = [usual.memory_format, *(["contiguous"] if train.memory_format == "auto" else [])]
    ways = [Way(*way) for way in itertools.product(precisions, formats)]
    return ways, f"this {device.type} has no instructions for half precision"


def _usual(train: TrainParams) -> Way:
    precision, memory_format = train.precision, train.memory_format
    return Way(FULL if precision == "auto" else precision, CHANNELS_LAST if memory_format == "auto" else memory_format)


def _half(device: torch.device) -> str | None:
    if is_fast_at_bf16(device):
        return "bf16-mixed"
    return "16-mixed" if device.type == "cuda" else None


def _images(plan: Plan) -> Tensor:
    """Return random images (N, C, H, W); their content does not affect the time."""
    preprocessing, size = plan.preprocessing, min(plan.params.train.batch_size, MOST_IMAGES)
    shape = (size, *preprocessing.shape, preprocessing.channels)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).permute(0, 3, 1, 2)
    return images.to(preprocessing.image_dtype)


def _timed(network: nn.Module, images: Tensor, ways: list[Way], train: TrainParams) -> dict[Way, float]:
    """Return the least seconds of forward and backward, measured alternately, so that other load affects all ways."""
    device = images.device
    devices = [device] if device.type == "cuda" else []
    trained = copy.deepcopy(network).to(device).train()
    if ways[0].precision in DTYPES:  # of all, then: `auto` tries only autocast
        trained.to(DTYPES[ways[0].precision])
    seconds: dict[Way, list[float]] = {way: [] for way in ways}
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), _one_thread(device), fast_weight_gradients(device, train):
        # Two images show how many there is time for, on a machine that nothing else uses: so few that a step is mostly overhead
        # would mislead. The first step of a size allocates memory and chooses kernels.
        few = sum(_step(trained, images[:2], way)[1] for _ in range(2) for way in ways) / 2
        num_steps = 1 + STEPS // 2
        fitting = int(0.8 * MOST_SECONDS / max(num_steps * few / len(images[:2]), 1e-9))
        images = images[: max(len(images[:2]), fitting // 8 * 8)]
        spent, rounds = 2 * few, 0  # on the wall, so that a busy machine has fewer rounds
        while rounds <= STEPS and (rounds < 2 or spent * (rounds + 1) / rounds <= MOST_SECONDS):
            for way in ways:
                took, alone = _step(trained, images, way)
                spent += took
                if rounds:
                    seconds[way].append(alone)
            rounds += 1
    return {way: min(each) for way, each in seconds.items()}


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU, compute in one thread within the block.

    Its seconds of a core are then the same beside other programs. Several threads that wait for one without a core spin, those of
    kernels in bfloat16 most, so that a busy machine would choose another precision.
    """
    number = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(number)


def _step(network: nn.Module, images: Tensor, way: Way) -> tuple[float, float]:
    """Return the seconds of forward and backward, and those of them that this thread had a core, or on a GPU all of them.

    The network's weights are laid out before.
    """
    device, mean = images.device, network.mean
    use_memory_format(network, way.memory_format)
    if images.is_floating_point():
        images = images.to(mean.dtype)  # type: ignore[arg-type]
    dtype = torch.float16 if way.precision.startswith("16") else torch.bfloat16
    _wait(device)
    start, start_alone = time.perf_counter(), time.thread_time()
    with torch.autocast(device.type, dtype, enabled=way.precision.endswith("-mixed")):
        logits = network(images)
        loss = logits.float().square().mean()
    loss.backward()
    network.zero_grad()
    _wait(device)
    took, alone = time.perf_counter() - start, time.thread_time() - start_alone
    return took, alone if device.type == "cpu" else took


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
