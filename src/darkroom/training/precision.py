"""`train.precision: auto`: the precision for this network on this device, chosen by short trials once per training.

The processor's flags are not enough: in bfloat16, full convolutions train up to twice as fast, depthwise ones slower.
"""

import copy
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from darkroom.base import files, paths
from darkroom.base.errors import warn
from darkroom.hardware.devices import choose_device, is_fast_at_bf16
from darkroom.models.probe_network import Probe
from darkroom.training.plan import Plan

FULL = "32-true"
STEPS = 5
# A part of a larger batch shows the same in less time.
MOST_IMAGES = 64
# Half precision must gain more than the noise of the measurement.
LEAST_GAIN = 1.1


def resolve_precision(plan: Plan, memory: Path | None = None) -> Plan:
    """Return a plan with a precision in place of `auto`.

    Parameters
    ----------
    plan
        The training; its weights and torch's generators are not changed.
    memory
        File with the choice, so that a resumed or repeated training uses the same precision.
    """
    params = plan.params
    if params.train.precision != "auto":
        return plan
    precision = (_remembered(memory) if memory else None) or (plan.earlier.precision if plan.earlier else None)
    if precision is None:
        precision, why = _chosen(plan, choose_device(params.hardware))
        print(f"train.precision: computes in {precision}: {why}", flush=True)
        if memory:
            files.write_sealed_json(memory, {"precision": precision})
    train = params.train.model_copy(update={"precision": precision})
    return replace(plan, params=params.model_copy(update={"train": train}))


def _remembered(memory: Path) -> str | None:
    try:
        return str(files.read_sealed_json(memory)["precision"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        warn(f"{paths.shown(memory)}: is damaged ({error}); the precision is chosen again")
        return None


def _chosen(plan: Plan, device: torch.device) -> tuple[str, str]:
    """Return a precision and the reason for it."""
    half = _half(device)
    if half is None:
        return FULL, f"this {device.type} has no instructions for half precision"
    if isinstance(plan.classifier.network, Probe):
        return FULL, "only the head is trained, on features that are computed once"
    seconds = _timed(plan.classifier.network, _images(plan).to(device), (FULL, half))
    gain = seconds[FULL] / seconds[half]
    return half if gain >= LEAST_GAIN else FULL, f"a step in {half} is {gain:.2f} times as fast as in {FULL}"


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


def _timed(network: nn.Module, images: Tensor, precisions: tuple[str, ...]) -> dict[str, float]:
    """Return the median seconds of forward and backward, measured alternately, so that other load affects all precisions."""
    device = images.device
    devices = [device] if device.type == "cuda" else []
    trained = copy.deepcopy(network).to(device).train()
    seconds: dict[str, list[float]] = {precision: [] for precision in precisions}
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        for step in range(STEPS + 1):
            for precision in precisions:
                _wait(device)
                start = time.perf_counter()
                dtype = torch.float16 if precision.startswith("16") else torch.bfloat16
                with torch.autocast(device.type, dtype, enabled=precision != FULL):
                    logits = trained(images)
                    loss = logits.float().square().mean()
                loss.backward()
                trained.zero_grad()
                _wait(device)
                if step:  # the first one allocates memory and chooses kernels
                    seconds[precision].append(time.perf_counter() - start)
    return {precision: statistics.median(each) for precision, each in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
