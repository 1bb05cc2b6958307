"""Short trials that propose a learning rate or a batch size. They train a network that is discarded, and draw a chart.

Lightning's Tuner is not used: it saves checkpoints, needs rate and batch size as attributes of the module, and measures no time.
Fabric, on which the Trainer is built, handles device and precision.
"""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from darkroom.base.errors import RunError, warn
from darkroom.data.pack import Rows
from darkroom.hardware.devices import stop_looking_for_gpus
from darkroom.hardware.memory import free_memory
from darkroom.input.dataset import Batch
from darkroom.input.samplers import ShuffledBatchSampler
from darkroom.training.observing.charts import draw_lines
from darkroom.training.plan import Plan

LOWEST_LR, HIGHEST_LR = 1e-6, 10.0
# Weight of earlier losses in the smoothed loss; the sweep ends when it exceeds the lowest one so many times.
SMOOTHING, DIVERGED = 0.9, 4.0
# Losses left out at both ends of the sweep: the first are hardly smoothed, the last diverge.
LEFT_OUT = (5, 5)
MIN_STEPS = 20
SMALLEST_BATCH, TIMED_STEPS, TIMED_SECONDS = 8, 20, 3.0
# Share of the free memory that may be used, and the additional memory of twice the batch, relative to the last one.
USABLE, GROWTH = 0.9, 1.0
NEARLY_FASTEST = 0.95


class Trial(NamedTuple):
    """Speed and memory of a batch size."""

    batch_size: int
    images_per_second: float
    memory_gb: float
    """Peak memory of training, on the GPU if there is one."""


class SweepTrainer:
    """A network and its optimizer on the device, one step at a time."""

    def __init__(self, plan: Plan):
        if plan.params.train.module is not None:
            warn("params.yaml: train.module: find measures train.loss on labelled images, not the module's training_step")
        hardware, precision = plan.params.hardware, plan.params.train.precision
        assert precision != "auto"  # resolve_auto has replaced it
        stop_looking_for_gpus()
        self.fabric = Fabric(accelerator=hardware.accelerator, devices=1, precision=precision)
        self.clip = plan.params.train.gradient_clip
        self.loss = plan.objective.loss.to(self.fabric.device)
        network = plan.classifier.network.train()
        self.network, self.optimizer = self.fabric.setup(network, plan.objective.make_optimizer(network))

    def step(self, batch: Batch) -> Tensor:
        """Train on one batch and return its loss without waiting for the device."""
        images, labels = self.fabric.to_device((batch["images"], batch["labels"]))
        self.optimizer.zero_grad()
        loss: Tensor = self.loss(self.network(images), labels)
        self.fabric.backward(loss)
        if self.clip is not None:
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=self.clip)
        self.optimizer.step()
        return loss.detach()


def find_lr(plan: Plan, rows: Rows, *, num_steps: int, chart: Path) -> float:
    """Raise the rate exponentially from step to step and return the one at which the smoothed loss falls most steeply.

    Raises
    ------
    RunError
        If the loss never falls.

    References
    ----------
    Smith, Cyclical Learning Rates for Training Neural Networks, https://arxiv.org/abs/1506.01186
    """
    trainer = SweepTrainer(plan)
    rates: list[float] = []
    losses: list[float] = []
    smoothed = 0.0
    for number, batch in zip(range(num_steps), _endless(plan, rows), strict=False):
        rate = LOWEST_LR * (HIGHEST_LR / LOWEST_LR) ** (number / (num_steps - 1))
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * float(trainer.step(batch))
        loss = smoothed / (1 - SMOOTHING ** (number + 1))
        if not math.isfinite(loss) or (losses and loss > DIVERGED * min(losses)):
            break
        rates.append(rate)
        losses.append(loss)
    found = steepest(np.array(rates), np.array(losses))
    panels = {"smoothed loss": {"loss": losses}}
    title = f"Loss while the learning rate rises, steepest at {found:.4g}"
    draw_lines(chart, rates, panels, title=title, x_label="learning rate", log_x=True, mark=found)
    return found


def steepest(rates: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """Return the rate at which the loss falls most steeply, from (n,) exponentially rising rates and their (n,) losses.

    Raises
    ------
    RunError
        If there are too few losses or none falls.
    """
    first, last = LEFT_OUT[0], len(rates) - LEFT_OUT[1]
    if last - first < 2:
        raise RunError("find: the loss diverges at the lowest learning rates; check train.loss and train.model")
    slopes = np.gradient(losses, np.log(rates))[first:last]
    if slopes.min() >= 0:
        raise RunError("find: the loss falls at no learning rate; raise --steps, or check train.loss and train.model")
    return float(rates[first + int(slopes.argmin())])


def find_batch_size(plan: Plan, rows: Rows, *, chart: Path, tell: Callable[[Trial], None]) -> list[Trial]:
    """Double the batch size until memory or images run out, and return speed and memory of each; reading images is not timed.

    Raises
    ------
    RunError
        If not even the smallest fits.
    """
    trials: list[Trial] = []
    size = min(SMALLEST_BATCH, len(rows))
    trainer = SweepTrainer(plan)
    while not trials or _has_room(trainer, trials):
        try:
            trials.append(_try(trainer, plan.images[0, rows[:size]], size))
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(error):
                raise
            break
        tell(trials[-1])
        if size == len(rows):
            break
        size = min(2 * size, len(rows))
    if not trials:
        raise RunError(f"find: not even {size} images fit in the device's memory; choose a smaller train.model or image_size")
    sizes = [float(trial.batch_size) for trial in trials]
    panels = {
        "images/s": {"images/s": [trial.images_per_second for trial in trials]},
        "memory, GB": {"GB": [trial.memory_gb for trial in trials]},
    }
    best = smallest_fast(trials).batch_size
    title = f"Speed and memory of batch sizes, {best} is nearly the fastest"
    draw_lines(chart, sizes, panels, title=title, x_label="batch size", log_x=True, from_zero=True, mark=float(best))
    return trials


def smallest_fast(trials: list[Trial]) -> Trial:
    """Return the smallest batch size that is nearly as fast as the fastest."""
    best = max(trial.images_per_second for trial in trials)
    return next(trial for trial in trials if trial.images_per_second >= NEARLY_FASTEST * best)


def _try(trainer: SweepTrainer, batch: Batch, size: int) -> Trial:
    device = trainer.fabric.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    float(trainer.step(batch))  # allocates memory, chooses kernels; the device is idle when its loss was read
    start, num_steps = time.perf_counter(), 0
    loss = torch.zeros(())
    while num_steps < TIMED_STEPS and time.perf_counter() - start < TIMED_SECONDS:
        loss = trainer.step(batch)
        num_steps += 1
    float(loss)
    seconds = time.perf_counter() - start
    used = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss
    return Trial(size, num_steps * size / seconds, used / 1e9)


def _has_room(trainer: SweepTrainer, trials: list[Trial]) -> bool:
    """Return whether twice the batch fits. A GPU reports that it does not; on a CPU the system would kill a process."""
    if trainer.fabric.device.type != "cpu":
        return True
    used = trials[-1].memory_gb - trials[0].memory_gb
    return bool(GROWTH * used * 1e9 < USABLE * free_memory())


def _endless(plan: Plan, rows: Rows) -> Iterator[Any]:
    """Yield the batches of a training, epoch after epoch."""
    order = ShuffledBatchSampler(rows, batch_size=plan.params.train.batch_size, seed=plan.params.base.seed)
    epoch = 0
    while True:
        order.set_epoch(epoch)
        for key in order:
            yield plan.images[key]
        epoch += 1
