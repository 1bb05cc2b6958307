"""`train.inspect`: histograms of weights and gradients, the network's inputs, and a profile. They do not change the result."""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.profilers import SimpleProfiler
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, schedule

from darkroom.base import files
from darkroom.data.bands import shown_image
from darkroom.input.dataset import Batch
from darkroom.training.observing.resilient_logger import ResilientLogger

BINS = 64
NUM_INPUTS, INPUTS_PER_ROW = 32, 8
# Only the first steps allocate memory and choose kernels.
SKIPPED_STEPS, PROFILED_STEPS = 5, 10
TABLE_ROWS = 30
# Regular expressions of the names of actions; the time of an action does not count for the one around it.
KINDS_OF_WORK = {
    r"_next$": "input",
    r"batch_to_device$": "input to the device",
    r"\.training_step$": "forward, loss",
    r"\.backward$": "backward",
    r"optimizer_(step|zero_grad)$": "optimizer",
    r"\.(validation|test)_step$": "validation",
    r"^\[Callback\]": "callbacks",
}


class Histograms(pl.Callback):
    """Logs the distributions of parameters and gradients at the last step of every epoch.

    They go to loggers with `add_histogram` (TensorBoard). Without one they are written to histograms/epoch_….npz: counts,
    (64,) int64, and bin edges, (65,) float, by name.
    """

    def __init__(self, folder: Path, loggers: Sequence[ResilientLogger]):
        self.folder, self.loggers = folder / "histograms", loggers

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:  # noqa: ARG002
        """Log before the last step of the epoch, when the gradients of all processes are reduced."""
        if not trainer.is_last_batch:
            return
        epoch = trainer.current_epoch + 1
        content: dict[str, Any] = {}
        for name, parameter in pl_module.named_parameters():
            found = {f"parameters/{name}": parameter, f"gradients/{name}": parameter.grad}
            for key, values in found.items():
                numbers = _finite(values)
                if len(numbers) and not any([logger.log_histogram(key, numbers, epoch) for logger in self.loggers]):
                    counts, edges = np.histogram(numbers, BINS)
                    content |= {f"{key}/counts": counts, f"{key}/edges": edges}
        if content:
            with files.replaced_file(self.folder / f"epoch_{epoch:03d}.npz") as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, **content)


def _finite(values: Tensor | None) -> Any:
    """Return the finite numbers of a tensor as (n,) float32."""
    if values is None:
        return np.empty(0, np.float32)
    numbers = values.detach().float().flatten().cpu().numpy()
    return numbers[np.isfinite(numbers)]


class Inputs(pl.Callback):
    """Writes the first images of every epoch, as the loader returns them, to inputs/epoch_….png."""

    def __init__(self, folder: Path, loggers: Sequence[ResilientLogger]):
        self.folder, self.loggers = folder / "inputs", loggers

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Write a sheet of the epoch's first batch."""
        if batch_idx:
            return
        from torchvision.utils import make_grid  # most trainings are not inspected

        epoch = trainer.current_epoch + 1
        images = batch["images"][:NUM_INPUTS].permute(0, 2, 3, 1).cpu().numpy()
        shown = [torch.from_numpy(shown_image(image)).permute(2, 0, 1) for image in images]
        sheet = make_grid(shown, nrow=INPUTS_PER_ROW)  # (3, H, W) uint8
        path = self.folder / f"epoch_{epoch:03d}.png"
        with files.replaced_file(path) as temporary:
            Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(temporary, "PNG")
        for logger in self.loggers:
            logger.log_image("inputs", sheet, epoch)
            logger.log_artifact(path, "inputs")


class Shares(SimpleProfiler):
    """Times the actions of Lightning's Trainer, and sums them up by kind of work, without counting nested actions twice.

    With a GPU it is the processor's time: a step ends when its kernels are launched.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: dict[str, float] = {}
        """By kind of work."""
        self._running: list[str] = []
        self._since = 0.0

    def start(self, action_name: str) -> None:
        """Start an action, within another one whose clock stops meanwhile."""
        self._count()
        self._running.append(action_name)
        super().start(action_name)

    def stop(self, action_name: str) -> None:
        """End the action, and continue the one around it."""
        super().stop(action_name)
        self._count()
        self._running.remove(action_name)

    def _count(self) -> None:
        now = time.perf_counter()
        if self._running:
            kind = kind_of_work(self._running[-1])
            self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self._since
        self._since = now

    def table(self) -> str:
        """Return a line for each kind of work, the longest first, with its seconds and its share of the total."""
        total = sum(self.seconds.values())
        order = sorted(self.seconds.items(), key=lambda item: -item[1])
        return "\n".join(f"{kind:<24}{seconds:>9.2f} s{100 * seconds / total:>7.1f} %" for kind, seconds in order)


def kind_of_work(action: str) -> str:
    """Return the kind of work of an action, named as in Lightning's profilers."""
    return next((kind for pattern, kind in KINDS_OF_WORK.items() if re.search(pattern, action)), "Lightning, logging")


class Profile(pl.Callback):
    """Times the parts of the training, and the operators of ten steps, and writes profile.txt.

    Attributes
    ----------
    parts : Shares
        For Lightning's Trainer.
    """

    def __init__(self, folder: Path):
        self.path, self.parts = folder / "profile.txt", Shares()
        self.operators = f"The training ended before its {SKIPPED_STEPS + PROFILED_STEPS} first steps."
        self._profiler: profile | None = None
        self._on_gpu = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Start the profilers."""
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise it prints every start, and a missing GPU as an error
        self._on_gpu = trainer.strategy.root_device.type == "cuda"
        self._profiler = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._on_gpu else [])],
            schedule=schedule(wait=0, warmup=1, active=PROFILED_STEPS, repeat=1, skip_first=SKIPPED_STEPS - 1),
            on_trace_ready=self._read,
            record_shapes=False,
        )
        self._profiler.start()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        """Count a step."""
        if self._profiler is not None:
            self._profiler.step()

    def _read(self, profiler: profile) -> None:
        column = "self_cuda_time_total" if self._on_gpu else "self_cpu_time_total"
        self.operators = profiler.key_averages().table(sort_by=column, row_limit=TABLE_ROWS)

    def write(self) -> None:
        """Stop, and write both tables."""
        if self._profiler is not None:
            self._profiler.stop()
            tables = [
                f"Where the time went\n{self.parts.table()}",
                self.parts.summary().strip(),
                f"Operators of {PROFILED_STEPS} steps\n{self.operators.strip()}",
            ]
            files.write_text(self.path, "\n\n".join(tables) + "\n")
