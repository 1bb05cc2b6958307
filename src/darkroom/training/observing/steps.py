"""Logs loss and learning rate of every step; losses stay on the device until fifty of them are read at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from darkroom.training.observing.live import LiveLogger
from darkroom.training.observing.resilient_logger import ResilientLogger, Values

# Reading a loss waits for the device, which is then idle until the next step is launched.
STEPS_PER_READ = 50


class LogSteps(pl.Callback):
    """Logs `train/loss_step`, the mean over all processes, and `lr_step`, by optimizer step from 1.

    They are written before anything else is logged or saved, so that the log of a resumed training is that of an uninterrupted
    one.

    Parameters
    ----------
    every
        Log every n-th step.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.steps: list[int] = []
        self.losses: list[Tensor] = []
        self.rates: list[float] = []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        """Add one step."""
        if trainer.fit_loop.epoch_loop._should_accumulate() or trainer.global_step % self.every:
            return
        self.steps.append(trainer.global_step)
        self.losses.append((outputs["loss"] if isinstance(outputs, dict) else outputs).detach())
        self.rates.append(pl_module.step_lr)  # type: ignore[arg-type]
        if len(self.steps) >= STEPS_PER_READ:
            self.flush(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Write before the metrics of the epoch are logged."""
        self.flush(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Write before the metrics of the epoch are logged."""
        self.flush(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Write before the log is saved in the state."""
        self.flush(trainer)

    def flush(self, trainer: pl.Trainer) -> None:
        """Read the losses from the device and log what was added."""
        if not self.steps:
            return
        losses = trainer.strategy.reduce(torch.stack(self.losses).float(), reduce_op="mean")
        assert isinstance(losses, Tensor)
        values = zip(losses.tolist(), self.rates, strict=True)
        rows: list[tuple[int, Values]] = [
            (step, {"train/loss_step": loss, "lr_step": rate}) for step, (loss, rate) in zip(self.steps, values, strict=True)
        ]
        self.steps, self.losses, self.rates = [], [], []
        log_rows(trainer, rows)


def log_rows(trainer: pl.Trainer, rows: list[tuple[int, Values]]) -> None:
    """Log values of steps by exactly these names; through Lightning, DVCLive would interpret `test_` and `_step` in them."""
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        if isinstance(logger, LiveLogger):
            _log_live(logger, rows)
        elif isinstance(logger, ResilientLogger):
            logger.log_steps(rows)


def log_within_epochs(trainer: pl.Trainer, metrics: Mapping[str, Tensor]) -> bool:
    """Log a validation, where there are several in an epoch, and return whether there are.

    One within an epoch is logged at the fraction of it; to loggers that need whole numbers by optimizer step, as `val/…_step`.
    """
    loop, total = trainer.fit_loop.epoch_loop, trainer.num_training_batches
    is_once = trainer.check_val_every_n_epoch is not None and trainer.val_check_batch == total
    if trainer.state.fn != TrainerFn.FITTING or is_once:
        return False
    done, values = loop.batch_idx + 1 or total, {name: float(value) for name, value in metrics.items()}
    epoch: float = trainer.current_epoch + 1
    row: tuple[int, Values] = (trainer.current_epoch + 1, values)
    if done < total:
        epoch = round(trainer.current_epoch + done / total, 6)
        row = (trainer.global_step, {f"{name}_step": value for name, value in values.items()})
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if isinstance(logger, LiveLogger):
            _log_live(logger, [(epoch, values)])
        elif isinstance(logger, ResilientLogger):
            logger.log_steps([row])
    return True


def _log_live(logger: LiveLogger, rows: Sequence[tuple[float, Values]]) -> None:
    # The logger's log_metrics would write after every row, and change names that end in `_step`.
    live = logger.experiment
    for step, values in rows:
        live.step = step
        for name, value in values.items():
            live.log_metric(name, value)
    live.sync()
