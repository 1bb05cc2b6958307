"""Looks inside a training, on request (train.inspect): histograms, the network's inputs, times. They change nothing."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.profilers import SimpleProfiler
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, schedule
from torchvision.utils import make_grid

from darkroom import files
from darkroom.training.batches import Batch
from darkroom.training.loggers import Beside

BINS = 64
NUM_INPUTS, INPUTS_PER_ROW = 32, 8
# The first steps allocate memory and choose kernels, which no later one does.
SKIPPED_STEPS, PROFILED_STEPS = 5, 10
TABLE_ROWS = 30


class Histograms(pl.Callback):
    """Logs the distributions of parameters and gradients at the last step of every epoch.

    Loggers with `add_histogram` (TensorBoard) get them; without one they are written to histograms/epoch_….npz, for each name its
    counts, (64,) int64, and the edges of their bins, (65,) float.
    """

    def __init__(self, folder: Path, loggers: Sequence[Beside]):
        self.folder, self.loggers = folder / "histograms", loggers

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:  # noqa: ARG002
        """Log before the last step of the epoch, when the gradients of all processes are in place."""
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
    """Return the finite ones of some numbers as (n,) float32."""
    if values is None:
        return np.empty(0, np.float32)
    numbers = values.detach().float().flatten().cpu().numpy()
    return numbers[np.isfinite(numbers)]


class Inputs(pl.Callback):
    """Writes the first pictures of every epoch, as the loader hands them to the network, to inputs/epoch_….png."""

    def __init__(self, folder: Path, loggers: Sequence[Beside]):
        self.folder, self.loggers = folder / "inputs", loggers

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Write a sheet of the epoch's first batch."""
        if batch_idx:
            return
        epoch = trainer.current_epoch + 1
        sheet = make_grid(batch["images"][:NUM_INPUTS].cpu(), nrow=INPUTS_PER_ROW)  # (C, H, W) uint8
        with files.replaced_file(self.folder / f"epoch_{epoch:03d}.png") as temporary:
            Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(temporary, "PNG")
        for logger in self.loggers:
            logger.log_image("inputs", sheet, epoch)


class Profile(pl.Callback):
    """Times the parts of the training, and in ten of its steps the operators, for profile.txt.

    Attributes
    ----------
    parts : SimpleProfiler
        For Lightning's Trainer.
    """

    def __init__(self, folder: Path):
        self.path, self.parts = folder / "profile.txt", SimpleProfiler()
        self.operators = f"The training ended before its {SKIPPED_STEPS + PROFILED_STEPS} first steps."
        self._profiler: profile | None = None
        self._on_gpu = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Begin."""
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it reports every start, and a missing GPU as an error
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
        """End, and write both tables."""
        if self._profiler is not None:
            self._profiler.stop()
            files.write_text(
                self.path, f"{self.parts.summary().strip()}\n\nOperators of {PROFILED_STEPS} steps\n{self.operators.strip()}\n"
            )
