"""The objective: what a training minimises, by which optimizer and schedule, over which weights, and what it monitors.

N images, K classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from darkroom.base.errors import InputError
from darkroom.base.params import Params, TrainParams
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.metrics.decision import Decision
from darkroom.metrics.extra import ExtraMetrics, Mode, build_metrics
from darkroom.models.layers import Frozen
from darkroom.objective.averaging import Average
from darkroom.objective.distillation import Teacher
from darkroom.objective.losses import class_weights, make_loss
from darkroom.objective.mixup import Mixing
from darkroom.objective.optimizers import make_optimizer
from darkroom.objective.schedules import make_scheduler
from darkroom.transfer.lora import Merged
from darkroom.transfer.trainable import TrainableModel

MakeOptimizer = Callable[[nn.Module], Optimizer]
MakeScheduler = Callable[[Optimizer, int], LRScheduler | None]


@dataclass(frozen=True, eq=False)
class Objective:
    """All that a `Classifier` needs beside its network.

    Attributes
    ----------
    loss : nn.Module
        From logits (N, K), of a binary task (N, 1), and labels, (N,) int64 or (N, K) of 0 and 1, to a scalar, the mean over the
        batch.
    val_loss : nn.Module
        Likewise, without class weights, so that the mean over images does not depend on how they are batched.
    make_optimizer, make_scheduler : callable
        Called with the network, and with the optimizer and the total number of steps.
    monitor : str
        Metric that selects the best epoch, and that a ReduceLROnPlateau schedule waits for.
    mode, stop_mode : str
        Whether its least or its greatest value is the best, and likewise that of the metric of early stopping.
    positive : int or None
        Label of the positive class of a binary task.
    extra_metrics : ExtraMetrics
        Metrics of a validation beside the usual ones.
    lr_table : mapping
        Learning rates by the epoch from which they hold; the schedule starts with the last one.
    mixing : Mixing or None
        Blends the images of training batches.
    teacher : Teacher or None
        Adds a distillation loss.
    adaptive_clip : float or None
        Largest norm of a unit's gradient, as a share of the norm of its weights.
    average : Average or None
        Average of the weights, which is validated and published in place of the network.
    frozen : Frozen or None
        The part of the network that is not trained.
    unfreeze_epoch : int or None
        Epoch from which it is trained; None: never.
    merged : Merged or None
        Plain network as which a network with adapters is validated and published.
    """

    loss: nn.Module
    val_loss: nn.Module
    make_optimizer: MakeOptimizer
    make_scheduler: MakeScheduler
    monitor: str
    mode: Mode
    stop_mode: Mode = "max"
    positive: int | None = None
    extra_metrics: ExtraMetrics = field(default_factory=lambda: ExtraMetrics({}))
    lr_table: Mapping[int, float] = field(default_factory=dict)
    mixing: Mixing | None = None
    teacher: Teacher | None = None
    adaptive_clip: float | None = None
    average: Average | None = None
    frozen: Frozen | None = None
    unfreeze_epoch: int | None = None
    merged: Merged | None = None

    def modules(self) -> nn.ModuleDict:
        """Return the parts that hold tensors, which move to the device and are saved in checkpoints; the teacher is not saved."""
        parts = {"loss": self.loss, "val_loss": self.val_loss, "average": self.average, "merged": self.merged}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})


def build_objective(params: Params, model: TrainableModel, pack: Pack, rows: Rows, teacher: Teacher | None = None) -> Objective:
    """Build what section `train` of params.yaml asks for.

    Parameters
    ----------
    params
        All of params.yaml.
    model
        The network to train.
    pack
        The images, with their labels.
    rows : (M,)
        The training images.
    teacher
        The model that `train.teacher` names.

    Raises
    ------
    InputError
        Naming the key that is wrong.
    """
    train, multilabel, positive = params.train, is_multilabel(pack.labels), model.positive
    extra_metrics = build_metrics(
        "train.metrics",
        train.metrics,
        num_classes=model.num_classes,
        multilabel=multilabel,
        allow=params.base.allow_targets,
        decision=Decision(positive=positive),
        classes=pack.classes,
    )
    mode, stop_mode = _modes(train, extra_metrics)
    weights = class_weights(train, pack.labels[rows], pack.classes, positive)
    loss = make_loss(params, weights, multilabel=multilabel, positive=positive)

    def scheduler_of(optimizer: Optimizer, total_steps: int) -> LRScheduler | None:
        return make_scheduler(params, optimizer, total_steps=total_steps, mode=mode)

    return Objective(
        loss=loss,
        val_loss=make_loss(params, {}, multilabel=multilabel, positive=positive) if weights else loss,
        make_optimizer=partial(make_optimizer, params),
        make_scheduler=scheduler_of,
        monitor=train.monitor,
        mode=mode,
        stop_mode=stop_mode,
        positive=positive,
        extra_metrics=extra_metrics,
        lr_table=train.lr_table or {},
        mixing=Mixing(train.mixup, train.cutmix, model.num_classes) if train.mixup or train.cutmix else None,
        teacher=teacher,
        adaptive_clip=train.adaptive_clip,
        average=Average(model.network, train) if train.ema is not None or train.swa is not None else None,
        frozen=model.frozen,
        unfreeze_epoch=train.unfreeze_epoch,
        merged=model.merged,
    )


def _modes(train: TrainParams, metrics: ExtraMetrics) -> tuple[Mode, Mode]:
    """Return which values of `train.monitor` and of the metric of early stopping are better."""
    stopping = train.early_stopping.monitor if train.early_stopping else None
    mode, stop_mode = (metrics.mode(name, train.monitor_mode) for name in (train.monitor, stopping or train.monitor))
    if train.monitor_mode not in (None, mode, stop_mode):
        raise InputError(
            f"params.yaml: train.monitor_mode: is {train.monitor_mode}, but {'higher' if mode == 'max' else 'lower'} values of "
            f"{train.monitor} are better; set it to null"
        )
    return mode, stop_mode
