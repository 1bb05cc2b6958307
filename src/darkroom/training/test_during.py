"""The test split during training, to look at: nothing is chosen by it."""

import math
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from darkroom.input.dataset import Batch
from darkroom.training.classifier import Classifier
from darkroom.training.observing.steps import log_rows


class TestDuring(pl.Callback):
    """Measures the test split at the validation of every so many epochs and logs it as `test_during/…`.

    It goes to the loggers alone: nothing that chooses an epoch, stops or sets a rate can see it.

    Parameters
    ----------
    every
        Number of epochs from one time to the next.
    load
        Returns the loader of the test split, or of the part of it that is a process's: called with rank and number of processes.
    """

    def __init__(self, every: int, load: Callable[[int, int], "DataLoader[Batch]"]):
        self.every, self.load = every, load
        self.epoch_metrics: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Count by itself what the validation counts."""
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
