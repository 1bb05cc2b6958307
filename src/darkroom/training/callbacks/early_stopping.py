"""Early stopping: when a training ends before its last epoch, and the line that says why."""

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason

from darkroom.base.params import TrainParams
from darkroom.metrics.extra import Mode


class StopEarly(EarlyStopping):
    """Ends the training when a metric no longer improves, and remembers the epoch of its best value.

    Parameters
    ----------
    monitor, mode
        The metric, and whether its least or its greatest value is the best.
    patience, min_delta, verbose
        As in `train.early_stopping`.
    """

    def __init__(self, monitor: str, mode: Mode, *, patience: int, min_delta: float, verbose: bool):
        # Metrics of the training are known at the end of an epoch. Those of a validation are looked at only after one: a
        # training that ends within its first epoch has no value.
        self.is_of_training = monitor.startswith("train/")
        super().__init__(
            monitor,
            min_delta=min_delta,
            patience=patience,
            mode=mode,
            check_finite=False,
            check_on_train_epoch_end=self.is_of_training,
        )
        self.prints = verbose
        self.best_epoch = 0
        """From 1."""

    def _counted(self, number: int) -> str:
        """Return a number of what patience counts."""
        return f"{number} {'epoch' if self.is_of_training else 'validation'}{'s' * (number != 1)}"

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at a metric of the validation."""
        super().on_validation_end(trainer, pl_module)
        if not self.is_of_training:
            self._note(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at a metric of the training."""
        super().on_train_epoch_end(trainer, pl_module)
        if self.is_of_training:
            self._note(trainer)

    def _note(self, trainer: pl.Trainer) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if self.wait_count == 0:
            self.best_epoch = trainer.current_epoch + 1
        if self.prints and trainer.is_global_zero:
            best = f"{float(self.best_score):.4f}"
            waited = f"{self.wait_count} of {self._counted(self.patience)}"
            said = (
                f"no better than {best} in epoch {self.best_epoch} for {waited}"
                if self.wait_count
                else f"{best} is the best so far"
            )
            print(f"train: epoch {trainer.current_epoch + 1}: early stopping: {self.monitor}: {said}", flush=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {**super().state_dict(), "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it; patience is that of params.yaml, which is another one where another training is resumed."""
        super().load_state_dict({**state_dict, "patience": self.patience})
        self.best_epoch = state_dict["best_epoch"]

    def __str__(self) -> str:
        delta = f" by more than {abs(self.min_delta):g}" if self.min_delta else ""
        return (
            f"{self.monitor} has not improved{delta} for {self._counted(self.wait_count)} "
            f"(patience {self.patience}); best value {float(self.best_score):.4f} in epoch {self.best_epoch}"
        )


def early_stopping(train: TrainParams, mode: Mode) -> list[EarlyStopping]:
    """Return the callback that `train.early_stopping` asks for, if it is set."""
    stopping = train.early_stopping
    if stopping is None:
        return []
    options = {"patience": stopping.patience, "min_delta": stopping.min_delta, "verbose": stopping.verbose}
    return [StopEarly(stopping.monitor or train.monitor, mode, **options)]  # type: ignore[arg-type]


def describe_stop(callbacks: Iterable[pl.Callback], *, epochs: int, published: str) -> str | None:
    """Return the line that says why a training ended before its last epoch, or None.

    Parameters
    ----------
    callbacks
        Those of the finished training.
    epochs
        `train.epochs`.
    published
        Where the published weights come from: `epoch 7`.
    """
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            last = callback.stopped_epoch + 1
            if last < epochs:
                why = str(callback) if isinstance(callback, StopEarly) else callback.stopping_reason_message
                return f"train: stopped early at epoch {last} of {epochs}: {why}; published are the weights of {published}"
    return None
