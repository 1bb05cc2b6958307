"""`train.precision: auto`: what this network is trained in on this device is chosen by short trials, once for a training.

A processor's flags do not tell: in bfloat16 networks of full convolutions train up to twice as fast, of depthwise ones slower.
"""

import copy
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from darkroom import files, paths
from darkroom.errors import warn
from darkroom.hardware.devices import choose_device, is_fast_at_bf16
from darkroom.models.probe_network import Probe
from darkroom.training.plan import Plan

FULL = "32-true"
STEPS = 5
# Of a larger batch a part tells as much, in less time.
MOST_IMAGES = 64
# Rounder arithmetic has to be worth it, and noise is not to decide.
LEAST_GAIN = 1.1


def resolve_precision(plan: Plan, memory: Path | None = None) -> Plan:
    """Return a plan with a precision in place of `auto`.

    Parameters
    ----------
    plan
        What is to be trained; its weights and the state of the generators stay as they are.
    memory
        File that keeps what was chosen: a training that is gone on with, or repeated, does not choose anew.
    """
    params = plan.params
    if params.train.precision != "auto":
        return plan
    precision = _remembered(memory) if memory else None
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
        warn(f"{paths.shown(memory)}: is damaged ({error}); the precision is chosen anew")
        return None


def _chosen(plan: Plan, device: torch.device) -> tuple[str, str]:
    """Return a precision, and why."""
    half = _half(device)
    if half is None:
        return FULL, f"no instructions for half precision on this {device.type}"
    if isinstance(plan.classifier.network, Probe):
        return FULL, "the head alone is trained, on features that are computed once"
    seconds = _timed(plan.classifier.network, _images(plan).to(device), (FULL, half))
    gain = seconds[FULL] / seconds[half]
    return half if gain >= LEAST_GAIN else FULL, f"a step in {half} is {gain:.2f} times as fast as in {FULL}"


def _half(device: torch.device) -> str | None:
    if is_fast_at_bf16(device):
        return "bf16-mixed"
    return "16-mixed" if device.type == "cuda" else None


def _images(plan: Plan) -> Tensor:
    """Return images (N, C, H, W) uint8 by chance; what is on them does not change how long they take."""
    preprocessing, size = plan.preprocessing, min(plan.params.train.batch_size, MOST_IMAGES)
    shape = (size, preprocessing.image_size, preprocessing.image_size, preprocessing.channels)
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).permute(0, 3, 1, 2)


def _timed(network: nn.Module, images: Tensor, precisions: tuple[str, ...]) -> dict[str, float]:
    """Return the median seconds of forward and backward, in turns, so that a busy machine is unfair to none."""
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
                if step:  # in the first one memory is fetched and kernels are chosen
                    seconds[precision].append(time.perf_counter() - start)
    return {precision: statistics.median(each) for precision, each in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
