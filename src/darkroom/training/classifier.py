"""The LightningModule: what happens to a batch, from its images to the optimizer's step, and the metrics of an epoch.

With every batch, Lightning calls in this order:

1. `on_train_batch_start`: the random numbers of the step, the learning rate of `train.lr_table`;
2. `optimizer_step`, and within it
3. `training_step`: mixing, network, loss, teacher;
4. backward, by Lightning;
5. `on_before_optimizer_step`: gradients of frozen weights are dropped;
6. `configure_gradient_clipping`;
7. the optimizer's own step, after which `optimizer_step` updates the average;
8. `lr_scheduler_step`, for schedules made of steps.

With `accumulate_grad_batches`, 5 to 8 come with the last batch of each step. N images, K classes.
"""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, distributed, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from darkroom.base.errors import RunError
from darkroom.data.rng import generator
from darkroom.hardware.devices import set_seed
from darkroom.input.dataset import Batch
from darkroom.input.samplers import STEP
from darkroom.metrics.epoch import EpochMetrics, epoch_metrics_of
from darkroom.objective.objective import Objective
from darkroom.objective.schedules import interval, logged_lr, set_table_lr
from darkroom.training.observing.steps import log_within_epochs


class Classifier(pl.LightningModule):
    """Trains a network and logs `train/…` and `val/…` once per epoch.

    Parameters
    ----------
    network, objective
        From images (N, C, H, W) uint8 to logits (N, K), of a binary task (N, 1); what is minimised, and how.
    num_classes, multilabel
        K, and whether an image has any number of them.
    seed
        Seed of dropout and mixing.
    """

    def __init__(self, network: nn.Module, objective: Objective, *, num_classes: int, multilabel: bool = False, seed: int):
        super().__init__()
        self.network, self.seed = network, seed
        # All else is within the objective: a subclass may have a loss, a teacher or an average of its own.
        self.objective, self.objective_modules = objective, objective.modules()
        self.new_metrics = epoch_metrics_of(num_classes, multilabel=multilabel, positive=objective.positive)
        self.train_metrics, self.val_metrics = self.new_metrics(), self.new_metrics(extra=objective.extra_metrics)
        self._step_lr = math.nan
        self._base_parameters = {id(value) for value in self.parameters()}
        self._base_objects = {name: id(getattr(self, name)) for name in ("network", "objective", "train_metrics", "val_metrics")}

    def replaced_names(self) -> list[str]:
        """Return the names of this class that a subclass has given another meaning; training would go wrong silently."""
        replaced = [name for name, number in self._base_objects.items() if id(getattr(self, name)) != number]
        registered = [*self._modules, *self._parameters, *self._buffers]
        return replaced + [name for name in registered if hasattr(type(self), name)]

    @property
    def step_lr(self) -> float:
        """The learning rate of the last optimizer step."""
        return self._step_lr

    @property
    def published(self) -> nn.Module:
        """What is validated and published: the network or the average of its weights, without adapters."""
        merged = self.objective.merged
        return self._averaged if merged is None else merged.network

    @property
    def _averaged(self) -> nn.Module:
        average = self.objective.average
        return average.network if average is not None and average.has_begun else self.network

    # One training step, in the order of the module's docstring.

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Make dropout and mixing functions of seed and step, and set the learning rate of the table."""
        part = batch_idx % self.trainer.accumulate_grad_batches
        counters = (self.global_step, part) if part else (self.global_step,)
        set_seed(int(generator(self.seed, STEP, *counters).integers(2**32)), self.device)
        self.set_table_lr()

    def set_table_lr(self) -> None:
        """Set the learning rate of the table, if there is one."""
        if self.objective.lr_table:
            set_table_lr(self.optimizers(), self.lr_schedulers(), self.objective.lr_table, self.current_epoch)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Run the step, which calls `training_step` and the hooks below it, then update the average."""
        super().optimizer_step(*arguments, **named)
        self._step_lr = logged_lr(self.optimizers())  # before the schedule changes it
        average = self.objective.average
        if average is not None:
            # Lightning counts the step only after this.
            step, is_last = self.global_step + 1, self.trainer.is_last_batch
            average.update(self.network, step=step, epoch=self.current_epoch, is_last=is_last)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss of one batch. It is added to the metrics on the device; nothing is logged here.

        A blended image counts as one of the class with the greatest share.
        """
        mixing, teacher = self.objective.mixing, self.objective.teacher
        mixed = mixing(batch) if mixing is not None else batch
        logits = self.network(mixed["images"])
        loss: Tensor = self.objective.loss(logits, mixed["labels"])
        if teacher is not None:
            loss = teacher(loss, logits, mixed["images"])
        labels = batch["labels"]
        if mixing is not None:
            labels = (mixed["labels"] > 0.5).float() if labels.ndim == 2 else mixed["labels"].argmax(dim=1)
        self.train_metrics.add(logits.detach(), labels, loss.detach())
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:  # noqa: ARG002
        """Drop the gradients of frozen weights where they had to be computed."""
        frozen = self.objective.frozen
        if frozen is not None and frozen.by_gradient and not self._is_unfrozen():
            frozen.drop_gradients()

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip each unit's gradient by its weights, then the whole gradient."""
        if self.objective.adaptive_clip is not None:
            from timm.utils.agc import adaptive_clip_grad  # timm takes a second to import, and most trainings do without

            parameters = [value for group in optimizer.param_groups for value in group["params"]]
            adaptive_clip_grad(parameters, self.objective.adaptive_clip)  # type: ignore[no-untyped-call]
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the schedule once the table of learning rates is over."""
        if self.current_epoch >= max(self.objective.lr_table, default=0):
            super().lr_scheduler_step(scheduler, metric)

    # Before the first step and at the start of an epoch.

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule in Lightning's form."""
        optimizer = self.objective.make_optimizer(self.network)
        # What a subclass has beside the network, such as the projection of a contrastive loss.
        if added := [value for value in self.parameters() if value.requires_grad and id(value) not in self._base_parameters]:
            optimizer.add_param_group({"params": added})
        if self.trainer.gradient_clip_val or self.objective.adaptive_clip:
            # A fused optimizer would undo the scale of mixed precision itself, after the gradients are clipped.
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        scheduler = self.objective.make_scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        if scheduler is None:
            return optimizer
        config: dict[str, Any] = {"scheduler": scheduler, "interval": interval(scheduler)}
        if isinstance(scheduler, ReduceLROnPlateau):
            config["monitor"] = self.objective.monitor
            config["frequency"] = self.trainer.check_val_every_n_epoch or 1  # other epochs have no value
        return {"optimizer": optimizer, "lr_scheduler": config}

    def setup(self, stage: str) -> None:  # noqa: ARG002
        """Under several processes, compute all gradients that will be needed: they agree on them once, at the start."""
        frozen = self.objective.frozen
        if frozen is not None and self.objective.unfreeze_epoch is not None and self.trainer.world_size > 1:
            frozen.by_gradient = True
            self._set_frozen()

    def on_train_start(self) -> None:
        """Freeze, as Lightning skips `on_train_epoch_start` in a resumed epoch; move the teacher to the device."""
        self._set_frozen()
        if self.objective.teacher is not None:
            self.objective.teacher.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Unfreeze when the epoch has come."""
        self._set_frozen()

    def _is_unfrozen(self) -> bool:
        return self.objective.unfreeze_epoch is not None and self.current_epoch >= self.objective.unfreeze_epoch

    def _set_frozen(self) -> None:
        if self.objective.frozen is not None:
            self.objective.frozen.set(frozen=not self._is_unfrozen())

    # Validation.

    def on_validation_start(self) -> None:
        """Merge the adapters, and give all processes the same statistics of normalisation, which each has measured itself."""
        # Only during training: a soup of earlier epochs is measured as it is.
        if self.objective.merged is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.objective.merged.merge(self._averaged)
        if self.trainer.world_size > 1:
            for buffer in self.published.buffers():
                distributed.broadcast(buffer, 0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Measure one batch."""
        self.measure(batch, self.val_metrics)

    def measure(self, batch: Batch, epoch_metrics: EpochMetrics) -> None:
        """Add a batch that is not trained on to some metrics."""
        logits = self.published(batch["images"])
        epoch_metrics.add(logits, batch["labels"], self.objective.val_loss(logits, batch["labels"]))

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self._log_epoch("val", self.val_metrics, (*self.val_metrics.measured, *self.val_metrics.extra.metrics))

    # The end of an epoch, and checkpoints.

    def on_train_epoch_end(self) -> None:
        """Log the training metrics and the learning rate of the last step."""
        self._log_epoch("train", self.train_metrics, ("loss", "accuracy"))
        self.log("lr", self.step_lr, rank_zero_only=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the metrics of an unfinished epoch, over all processes, and the rate of the last step."""
        checkpoint["train_metrics"] = self.train_metrics.state(self.all_gather)
        checkpoint["step_lr"] = self.step_lr

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore them, the metrics in one process for all."""
        self._step_lr = checkpoint["step_lr"]
        self.train_metrics.restore(checkpoint["train_metrics"] if self.trainer.is_global_zero else None)

    def _log_epoch(self, split: str, epoch_metrics: EpochMetrics, names: tuple[str, ...]) -> None:
        metrics = epoch_metrics.metrics(self.all_gather)
        epoch_metrics.reset()
        values = {f"{split}/{name}": metrics[name] for name in names}
        # A validation after training only compares, and need not be finite.
        if self.trainer.state.fn == TrainerFn.FITTING:
            self._check_finite(f"{split}/loss", values, "lower train.lr or set train.gradient_clip")
            self._check_finite(self.objective.monitor, values, "let train.monitor be another metric")
        # An extra metric may be undefined in an epoch, such as one of pairs of classes that were never predicted.
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        is_logged = split == "val" and log_within_epochs(self.trainer, known)
        # Lightning takes a value named `step` for the step of all that is logged beside it: epochs from 1.
        self.log_dict(known | {"step": float(self.current_epoch + 1)}, logger=not is_logged)

    def _check_finite(self, name: str, values: Mapping[str, Tensor], advice: str) -> None:
        value = float(values.get(name, 0.0))
        if not math.isfinite(value):
            raise RunError(f"{name}: is {value} in epoch {self.current_epoch + 1} (step {self.global_step}); {advice}")
