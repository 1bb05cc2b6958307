"""What a training will take, by one or two steps on a few of its images. N images, C channels, H by W pixels."""

import copy
import os
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.input.dataset import Batch
from darkroom.models.probe_network import evaluating
from darkroom.objective.objective import Objective
from darkroom.training.plan import Plan

# Images of the batches that costs are measured on.
TIMED_IMAGES = 32
# What a training takes besides its steps: building, saving, the metrics of an epoch.
FIXED_SECONDS, EPOCH_SECONDS, STEP_SECONDS = 1.0, 0.1, 0.003
# Of the solver, for each image: it fits twenty times to choose a strength.
SOLVER_SECONDS = 0.006
Result = TypeVar("Result")


def training_seconds(plan: Plan, params: Params, split: Split, device: torch.device, num_folds: int) -> float:
    """Return what a training will take.

    Parameters
    ----------
    plan
        Its network is moved to the device, and not changed.
    params
        Of the recipe.
    split
        With the images that are trained and judged on.
    device
        Where it will train.
    num_folds
        Number of last layers that are trained, if features are computed once.
    """
    train, network = params.train, plan.classifier.network.to(device)
    num_train, num_val = (len(split.rows[each]) for each in ("train", "val"))
    rows = split.rows["train"][: min(TIMED_IMAGES, train.batch_size)]
    count, readers = len(rows), max(1, os.cpu_count() or 1)
    reading, batch = timed(lambda: plan.images.plain()[0, rows], times=1)
    images, read = batch["images"].to(device), reading / count / readers
    with evaluating(network), torch.inference_mode():
        forward = timed(lambda: wait(network(images)))[0] / count
    steps = train.epochs * -(-num_train // train.batch_size)
    fixed = FIXED_SECONDS + train.epochs * EPOCH_SECONDS + steps * STEP_SECONDS + (num_train + num_val) * read
    solving = 0.0 if train.fit_head is None else SOLVER_SECONDS * num_train
    if train.cache_features:
        # A strength is chosen on the first two folds.
        return num_folds * fixed + (num_train + num_val) * forward + solving * (1 if num_folds == 1 else 3)
    augmenting, batch = timed(lambda: plan.images[0, rows], times=1)
    step = (_step_seconds(plan.objective, network, batch, device) + augmenting / readers) / count
    epochs = train.epochs
    if train.fit_head is not None:
        epochs, solving = epochs - 1, solving + num_train * forward
    return fixed + epochs * num_train * step + train.epochs * num_val * forward + solving


def _step_seconds(objective: Objective, network: nn.Module, batch: Batch, device: torch.device) -> float:
    """Return the seconds of a training step on a batch; a copy of the network takes it."""
    mixed = objective.mixing(batch) if objective.mixing else batch
    images, labels = mixed["images"].to(device), mixed["labels"].to(device)
    trained, loss = copy.deepcopy(network).train(), objective.loss.to(device)
    optimizer = objective.make_optimizer(trained)

    def step() -> Tensor:
        optimizer.zero_grad()
        value: Tensor = loss(trained(images), labels)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return wait(value.detach())

    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        return timed(step)[0]


def timed(work: Callable[[], Result], times: int = 2) -> tuple[float, Result]:
    """Return the seconds of the last of several calls, and its result; the first allocates memory and chooses kernels."""
    for _ in range(times):
        begun = time.perf_counter()
        result = work()
    return time.perf_counter() - begun, result


def wait(result: Tensor) -> Tensor:
    """Return a result once its device has computed it."""
    if result.device.type != "cpu":
        torch.get_device_module(result.device).synchronize(result.device)
    return result
