"""Measures the test split during training; nothing is chosen by it."""

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from darkroom.input.dataset import Batch
from darkroom.training.classifier import Classifier
from darkroom.training.observing.steps import log_rows


class TestDuring(pl.Callback):
    """Measures the test split at the validation of every n-th epoch and logs it as `test_during/…`.

    The values go only to the loggers: nothing that selects an epoch, stops or changes a rate can use them.

    Parameters
    ----------
    every
        Number of epochs between two measurements.
    load
        Returns the loader of a process's part of the test split; called with rank and number of processes.
    """

    def __init__(self, every: int, load: Callable[[int, int], "DataLoader[Batch]"]):
        self.every, self.load = every, load
        self.epoch_metrics: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Make metrics like those of the validation."""
        assert isinstance(pl_module, Classifier)
        self.epoch_metrics = pl_module.new_metrics(extra=pl_module.val_metrics.extra.clone())

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure, with the network in the mode and precision of a validation."""
        if (trainer.current_epoch + 1) % self.every:
            return
        assert isinstance(pl_module, Classifier)
        for batch in self.load(trainer.global_rank, trainer.world_size):
            moved: Any = trainer.strategy.batch_to_device(batch)
            with trainer.precision_plugin.val_step_context():
                pl_module.measure(moved, self.epoch_metrics)
        metrics = self.epoch_metrics.metrics(pl_module.all_gather)
        self.epoch_metrics.reset()
        values = {f"test_during/{name}": float(value) for name, value in metrics.items()}
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        log_rows(trainer, [(trainer.current_epoch + 1, known)])
