"""Keeping the weights of the best epoch, in memory and in the trainer's state."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor


class KeepBest(pl.Callback):
    """Remembers the weights of the epoch whose monitored metric was best; the earliest one of equals.

    Attributes
    ----------
    score : float or None
        Best value so far.
    epoch : int
        Its epoch, from 1.
    weights : dict of Tensor
        Copies on the CPU.
    publishes : bool
        Whether this is the process, of several, that writes the model.
    """

    def __init__(self, monitor: str):
        self.monitor = monitor
        self.sign = -1 if monitor.endswith("loss") else 1
        self.score: float | None = None
        self.epoch = 0
        self.weights: dict[str, Tensor] = {}
        self.publishes = True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Learn which process this is."""
        self.publishes = trainer.is_global_zero

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare this epoch with the best one."""
        score = float(trainer.callback_metrics[self.monitor])
        if self.score is None or self.sign * score > self.sign * self.score:
            self.score, self.epoch = score, trainer.current_epoch + 1
            self.weights = {name: value.detach().cpu().clone() for name, value in pl_module.published.state_dict().items()}  # type: ignore[union-attr]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"score": self.score, "epoch": self.epoch, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where a checkpoint left off."""
        self.score, self.epoch, self.weights = state_dict["score"], state_dict["epoch"], state_dict["weights"]
