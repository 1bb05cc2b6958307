"""The LightningModule: one training step, and the epoch's metrics from counts that stay on the device.

N images, K classes.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from darkroom.data.rng import generator
from darkroom.errors import RunError
from darkroom.hardware.devices import set_seed
from darkroom.input.dataset import Batch
from darkroom.input.samplers import STEP
from darkroom.metrics.epoch import EpochMetrics, MultilabelEpochMetrics
from darkroom.metrics.extra import ExtraMetrics
from darkroom.models.layers import Frozen
from darkroom.models.lora import Merged
from darkroom.objective.averaging import Average
from darkroom.objective.distillation import Teacher
from darkroom.objective.mixup import Mixing
from darkroom.objective.schedules import interval
from darkroom.params import MEASURED

MakeOptimizer = Callable[[nn.Module], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRScheduler | None]


class Classifier(pl.LightningModule):
    """Trains a network and logs, once an epoch, `train/…` and `val/…`.

    Parameters
    ----------
    network
        From images (N, C, H, W) uint8 to logits (N, K).
    loss
        From logits (N, K) and labels, (N,) int64 or (N, K) of 0 and 1, to a scalar, the mean over the batch.
    val_loss
        Likewise, the mean over images whatever batches they come in.
    make_optimizer, make_scheduler
        Called with the network, and with the optimizer and the total number of steps.
    num_classes
        K.
    multilabel
        Whether images have any number of classes.
    further
        Metrics that are measured in validations beside the usual ones.
    monitor
        Validation metric that a ReduceLROnPlateau schedule watches.
    seed
        Seed of dropout and of mixing.
    lr_table
        Learning rates by the epoch from which on they hold; the schedule begins with the last one.
    mixing
        Blends training batches.
    teacher
        Joins its own to the loss of a training batch.
    frozen, unfreeze_epoch
        What of the network is not trained, and the epoch from which on it is.
    average
        What is validated and published in place of the network.
    adaptive_clip
        Largest norm of a unit's gradient as a share of that of its weights.
    merged
        The plain network that a network with adapters, or the average of it, is validated and published as.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        loss: nn.Module,
        val_loss: nn.Module,
        make_optimizer: MakeOptimizer,
        make_scheduler: MakeScheduler,
        num_classes: int,
        multilabel: bool = False,
        further: ExtraMetrics | None = None,
        monitor: str,
        seed: int,
        lr_table: Mapping[int, float] | None = None,
        mixing: Mixing | None = None,
        teacher: Teacher | None = None,
        frozen: Frozen | None = None,
        unfreeze_epoch: int | None = None,
        average: Average | None = None,
        adaptive_clip: float | None = None,
        merged: Merged | None = None,
    ):
        super().__init__()
        self.network, self.loss, self.val_loss = network, loss, val_loss
        # Not `teacher`: modules of people's own are likely to have one.
        self.lr_table, self.mixing, self.teacher = dict(lr_table or {}), mixing, teacher
        self.frozen, self.unfreeze_epoch = frozen, unfreeze_epoch
        self.average, self.adaptive_clip, self.merged = average, adaptive_clip, merged
        self.make_optimizer, self.make_scheduler = make_optimizer, make_scheduler
        self.monitor, self.seed = monitor, seed
        self.new_metrics = partial(MultilabelEpochMetrics if multilabel else EpochMetrics, num_classes)
        self.train_metrics, self.val_metrics = self.new_metrics(), self.new_metrics(extra=further)
        self._own = {id(value) for value in self.parameters()}

    @property
    def published(self) -> nn.Module:
        """What is validated, and published if it is the best: the network, or the average of its weights, without adapters."""
        return self._learnt if self.merged is None else self.merged.network

    @property
    def _learnt(self) -> nn.Module:
        if self.average is not None and self.average.has_begun:
            return self.average.network
        return self.network

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Take the step's weights into the average."""
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            # Lightning counts the step only after this.
            step, is_last = self.global_step + 1, self.trainer.is_last_batch
            self.average.update(self.network, step=step, epoch=self.current_epoch, is_last=is_last)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip each unit's gradient by its weights, then the whole gradient."""
        if self.adaptive_clip is not None:
            from timm.utils.agc import adaptive_clip_grad  # timm takes a second to import, and most trainings do without

            parameters = [value for group in optimizer.param_groups for value in group["params"]]
            adaptive_clip_grad(parameters, self.adaptive_clip)  # type: ignore[no-untyped-call]
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule in Lightning's form."""
        optimizer = self.make_optimizer(self.network)
        # What a subclass has beside the network, such as the projection of a contrastive loss.
        if added := [value for value in self.parameters() if value.requires_grad and id(value) not in self._own]:
            optimizer.add_param_group({"params": added})
        scheduler = self.make_scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        if scheduler is None:
            return optimizer
        config: dict[str, Any] = {"scheduler": scheduler, "interval": interval(scheduler)}
        if isinstance(scheduler, ReduceLROnPlateau):
            config["monitor"] = self.monitor
        return {"optimizer": optimizer, "lr_scheduler": config}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Let the schedule wait until the table of learning rates is over."""
        if self.current_epoch >= max(self.lr_table, default=0):
            super().lr_scheduler_step(scheduler, metric)

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Let processes that train together know of all that will be trained, before they agree on it."""
        if self.frozen is not None and self.unfreeze_epoch is not None and self.trainer.world_size > 1:
            self.frozen.by_gradient = True
            self._set_frozen()

    def on_train_start(self) -> None:
        """Freeze, also in the middle of an epoch: Lightning does not begin a resumed one anew; fetch the teacher."""
        self._set_frozen()
        if self.teacher is not None:
            self.teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Thaw when it is time."""
        self._set_frozen()

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Leave what is frozen as it is."""
        if self.frozen is not None and self.frozen.by_gradient and not self._is_thawed():
            self.frozen.drop_gradients()

    def _is_thawed(self) -> bool:
        return self.unfreeze_epoch is not None and self.current_epoch >= self.unfreeze_epoch

    def _set_frozen(self) -> None:
        if self.frozen is not None:
            self.frozen.set(frozen=not self._is_thawed())

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Make dropout and mixing functions of seed and step, whatever drew random numbers before; follow the table."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        counters = (self.global_step, part) if part else (self.global_step,)
        set_seed(int(generator(self.seed, STEP, *counters).integers(2**32)), self.device)
        if self.lr_table:
            self._follow_table()

    def _follow_table(self) -> None:
        optimizer: Any = self.optimizers()
        schedulers: Any = self.lr_schedulers()
        if schedulers is not None and self.current_epoch >= max(self.lr_table):
            rates = schedulers.get_last_lr()
        else:
            rate = self.lr_table[max(epoch for epoch in self.lr_table if epoch <= self.current_epoch)]
            rates = [rate * group.get("lr_factor", 1.0) for group in optimizer.param_groups]
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss of one batch; counts are added up, nothing is logged and nothing waits for the device.

        Of a blended image the class with the greatest share counts as the right one.
        """
        given = self.mixing(batch) if self.mixing is not None else batch
        logits = self.network(given["images"])
        loss: Tensor = self.loss(logits, given["labels"])
        if self.teacher is not None:
            loss = self.teacher(loss, logits, given["images"])
        labels = batch["labels"]
        if self.mixing is not None:
            labels = (given["labels"] > 0.5).float() if labels.ndim == 2 else given["labels"].argmax(dim=1)
        self.train_metrics.add(logits.detach(), labels, loss.detach())
        return loss

    def on_validation_start(self) -> None:
        """Let all processes measure what will be published: statistics of normalisation differ from one to the other."""
        # Only while it trains: a soup of earlier epochs is measured as it is.
        if self.merged is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.merged.take(self._learnt)
        if self.trainer.world_size > 1:
            for buffer in self.published.buffers():
                distributed.broadcast(buffer, 0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Count one batch."""
        self.measure(batch, self.val_metrics)

    def measure(self, batch: Batch, epoch_metrics: EpochMetrics) -> None:
        """Count one batch that is not trained on."""
        logits = self.published(batch["images"])
        epoch_metrics.add(logits, batch["labels"], self.val_loss(logits, batch["labels"]))

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log_epoch("val", self.val_metrics, (*MEASURED, *self.val_metrics.extra.metrics))

    def on_train_epoch_end(self) -> None:
        """Log the training metrics and the learning rate."""
        self._log_epoch("train", self.train_metrics, ("loss", "accuracy"))
        optimizer: Any = self.optimizers()
        self.log("lr", float(optimizer.param_groups[0]["lr"]), rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was counted of an unfinished epoch, over all processes."""
        checkpoint["train_metrics"] = self.train_metrics.state(self.all_gather)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the counts; one process has them for all."""
        self.train_metrics.restore(checkpoint["train_metrics"] if self.trainer.is_global_zero else None)

    def _log_epoch(self, split: str, epoch_metrics: EpochMetrics, names: tuple[str, ...]) -> None:
        metrics = epoch_metrics.metrics(self.all_gather)
        epoch_metrics.reset()
        values = {f"{split}/{name}": metrics[name] for name in names}
        # What is measured after training is compared with what there is, and need not be better.
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._check_finite(f"{split}/loss", values, "lower train.lr or set train.gradient_clip")
            self._check_finite(self.monitor, values, "let train.monitor be another metric")
        # A further metric may have no value in an epoch, such as one of pairs of classes that were never predicted.
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        # Lightning takes a value named `step` for the step of all that is logged beside it: epochs from 1.
        self.log_dict(known | {"step": float(self.current_epoch + 1)})

    def _check_finite(self, name: str, values: Mapping[str, Tensor], way_out: str) -> None:
        value = float(values.get(name, 0.0))
        if not math.isfinite(value):
            raise RunError(f"{name}: is {value} in epoch {self.current_epoch + 1} (step {self.global_step}); {way_out}")
