"""The LightningModule: one training step, and the epoch's metrics from counts that stay on the device.

N pictures, K classes.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from darkroom.data.randomness import generator
from darkroom.errors import RunError
from darkroom.training.batches import STEP, Batch
from darkroom.training.schedules import interval
from darkroom.training.tally import MultilabelTally, Tally

MEASURED = ("loss", "accuracy", "balanced_accuracy", "f1_macro")
MakeOptimizer = Callable[[nn.Module], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRScheduler | None]


class Classifier(pl.LightningModule):
    """Trains a network and logs, once an epoch, `train/…` and `val/…`.

    Parameters
    ----------
    network
        From pictures (N, C, H, W) uint8 to logits (N, K).
    loss
        From logits (N, K) and labels, (N,) int64 or (N, K) of 0 and 1, to a scalar, the mean over the batch.
    make_optimizer, make_scheduler
        Called with the network, and with the optimizer and the total number of steps.
    num_classes
        K.
    multilabel
        Whether pictures have any number of classes.
    monitor
        Validation metric that a ReduceLROnPlateau schedule watches.
    seed
        Seed of dropout.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: nn.Module,
        make_optimizer: MakeOptimizer,
        make_scheduler: MakeScheduler,
        num_classes: int,
        multilabel: bool = False,
        monitor: str,
        seed: int,
    ):
        super().__init__()
        self.network, self.loss = network, loss
        self.make_optimizer, self.make_scheduler = make_optimizer, make_scheduler
        self.monitor, self.seed = monitor, seed
        self.new_tally = partial(MultilabelTally if multilabel else Tally, num_classes)
        self.train_tally, self.val_tally = self.new_tally(), self.new_tally()

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule in Lightning's form."""
        optimizer = self.make_optimizer(self.network)
        scheduler = self.make_scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        if scheduler is None:
            return optimizer
        config: dict[str, Any] = {"scheduler": scheduler, "interval": interval(scheduler)}
        if isinstance(scheduler, ReduceLROnPlateau):
            config["monitor"] = self.monitor
        return {"optimizer": optimizer, "lr_scheduler": config}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Make dropout a function of seed and step, whatever drew random numbers before."""
        torch.manual_seed(int(generator(self.seed, STEP, self.global_step).integers(2**32)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss of one batch; counts are added up, nothing is logged and nothing waits for the device."""
        logits = self.network(batch["images"])
        loss: Tensor = self.loss(logits, batch["labels"])
        self.train_tally.add(logits.detach(), batch["labels"], loss.detach())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Count one batch."""
        self.measure(batch, self.val_tally)

    def measure(self, batch: Batch, tally: Tally) -> None:
        """Count one batch that is not trained on."""
        logits = self.network(batch["images"])
        tally.add(logits, batch["labels"], self.loss(logits, batch["labels"]))

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log_epoch("val", self.val_tally, MEASURED)

    def on_train_epoch_end(self) -> None:
        """Log the training metrics and the learning rate."""
        self._log_epoch("train", self.train_tally, ("loss", "accuracy"))
        optimizer: Any = self.optimizers()
        self.log("lr", float(optimizer.param_groups[0]["lr"]), rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was counted of an unfinished epoch, over all processes."""
        checkpoint["train_tally"] = self.train_tally.state(self.all_gather)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the counts; one process has them for all."""
        self.train_tally.take_up(checkpoint["train_tally"] if self.trainer.is_global_zero else None)

    def _log_epoch(self, split: str, tally: Tally, names: tuple[str, ...]) -> None:
        metrics = tally.metrics(self.all_gather)
        tally.reset()
        loss = float(metrics["loss"])
        if not math.isfinite(loss):
            raise RunError(
                f"{split}/loss: is {loss} in epoch {self.current_epoch + 1} (step {self.global_step}); "
                "lower train.lr or set train.gradient_clip"
            )
        # Lightning takes a value named `step` for the step of all that is logged beside it: epochs from 1.
        self.log_dict({f"{split}/{name}": metrics[name] for name in names} | {"step": float(self.current_epoch + 1)})
