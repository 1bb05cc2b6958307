"""From parameters to a training that can start: everything is built, and checked against the rest, before the first batch."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from darkroom.build import Builder
from darkroom.data.colours import measure_colours
from darkroom.data.dividing import Rows
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack
from darkroom.errors import InputError, warn
from darkroom.params import Network, Params
from darkroom.training import devices, networks
from darkroom.training.arrays import ArrayTransform
from darkroom.training.augment import BatchAugmentation, PictureAugmentation
from darkroom.training.averaging import Average
from darkroom.training.batches import PictureBatches
from darkroom.training.classifier import Classifier
from darkroom.training.features import make_probe
from darkroom.training.huggingface import HuggingFaceClassifier
from darkroom.training.layers import Frozen, parameter_groups
from darkroom.training.loggers import check_loggers
from darkroom.training.lora import add_adapters
from darkroom.training.losses import class_weights
from darkroom.training.metrics import Mode, build_metrics
from darkroom.training.mixing import Mixing
from darkroom.training.networks import Normalized, Preprocessing
from darkroom.training.origin import check_licence
from darkroom.training.pretrained import Pretrained, about_weights
from darkroom.training.published import refuse_unsafe_loading
from darkroom.training.rehearsal import check_network, check_step
from darkroom.training.size import Size, measure
from darkroom.training.starting import Start
from darkroom.training.teaching import Teacher
from darkroom.training.trainer import check_trainer_arguments

# A network with `fit_to` is set from 2000 pictures of 32 by 32 pixels, or fewer larger ones: enough patches, in little memory.
FITTED_TO_PIXELS = 2000 * 32 * 32


@dataclass(frozen=True)
class Plan:
    """A training that was checked and can start."""

    params: Params
    classifier: Classifier
    preprocessing: Preprocessing
    transforms: list[Any]
    num_classes: int
    size: Size
    weights: Pretrained | None
    """What the training starts with; None: from scratch."""
    started: str | None
    """What was taken of `train.init_from`."""
    mode: Mode
    """Whether the least or the greatest value of `train.monitor` is the best one."""

    @property
    def about(self) -> dict[str, Any]:
        """What model.json says of the network beside `train.model`."""
        network = self.classifier.network.network
        return {
            "config": network.config if isinstance(network, HuggingFaceClassifier) else None,
            "origin": self.weights.origin.model_dump() if self.weights else None,
            "teacher": teacher.origin.model_dump() if (teacher := self.classifier.taught_by) else None,
            "size": self.size.model_dump(),
            "precision": self.params.train.precision,
        }

    def lines(self) -> list[str]:
        """Return what is said of it before it starts."""
        model = self.params.train.model
        name = model.name if isinstance(model, Network) else model.target
        teacher = self.classifier.taught_by
        return [
            *([self.started] if self.started else []),
            f"{name}, {self.size}",
            *([str(teacher)] if teacher else []),
        ]


def make_plan(params: Params, pack: Pack, train_rows: Rows, start: Start | None = None, teacher: Teacher | None = None) -> Plan:
    """Build everything that params.yaml names and check that it fits together and fits the machine.

    `start` and `teacher` are the models that `train.init_from` and `train.teacher` name.

    Raises
    ------
    InputError
        Naming the key; nothing has been trained or written then.
    """
    train, allow = params.train, params.base.allow_targets
    refuse_unsafe_loading()
    devices.check_accelerator(params.hardware)
    devices.check_precision(train.precision, params.hardware)
    check_trainer_arguments(params)
    check_loggers(params)
    torch.manual_seed(params.base.seed)
    num_classes, channels = len(pack.classes), networks.network_channels(train.model, pack.channels)
    weights = start.expects if start else about_weights(train.model)
    for taken in (weights, teacher):
        if taken:
            check_licence(taken.origin, allow_noncommercial=train.allow_noncommercial)
    network = networks.build_network(train.model, num_classes=num_classes, channels=channels, allow=allow)
    image_size = train.image_size or (weights.image_size if weights else _natural_size(pack))
    mean, std = weights.normalisation(channels) if weights else _normalisation(pack, train_rows, channels)
    preprocessing = Preprocessing(image_size=image_size, channels=channels, mean=mean, std=std, resize=pack.resize)
    normalized = Normalized(network, preprocessing)
    multilabel = is_multilabel(pack.labels)
    further = build_metrics("train.metrics", train.metrics, num_classes=num_classes, multilabel=multilabel, allow=allow)
    mode = further.mode(train.monitor)
    of_classes = class_weights(train, pack.labels[train_rows], pack.classes)
    loss = make_loss(params, of_classes, multilabel=multilabel)
    mixing = Mixing(train.mixup, train.cutmix, num_classes) if train.mixup or train.cutmix else None
    augmentations = Builder("train.augment", (BatchAugmentation, PictureAugmentation, nn.Module, ArrayTransform), allow)
    transforms = [augmentations.build(target) for target in train.augment]
    pictures = PictureBatches(pack, image_size=image_size, channels=channels, transforms=transforms, seed=params.base.seed)
    # Not as many as there are classes: a loss that takes labels for logits would broadcast them and not be noticed.
    if multilabel and train.sampler == "balanced":
        raise InputError(
            "params.yaml: train.sampler: balanced needs one class per picture, but these have any number; set shuffled"
        )
    few = pictures[0, train_rows[: 3 if num_classes == 2 else 2]]
    check_network(normalized, few["images"], num_classes)
    for epoch in train.image_sizes or {}:
        check_network(normalized, pictures.at_sizes(train.image_sizes or {})[epoch, train_rows[:2]]["images"], num_classes)
    fit_to: Any = getattr(network, "fit_to", None)
    if fit_to is not None:
        num = min(len(train_rows), max(1, FITTED_TO_PIXELS // image_size**2))
        spread = np.linspace(0, len(train_rows) - 1, num=num).astype(int)
        seen = PictureBatches(pack, image_size=image_size, channels=channels)[0, train_rows[spread]]["images"]
        fit_to((seen - normalized.mean) / normalized.std)
    if teacher:
        teacher.check(few["images"], pack.classes, multilabel=multilabel)
    started = _start(start, normalized, params, few["images"], pack.classes) if start else None
    normalized = normalized.to(memory_format=torch.channels_last)
    merged, base = add_adapters(normalized, train.lora, few["images"]) if train.lora else (None, [])
    frozen = Frozen(network, train.freeze, base)
    frozen.set(frozen=True)
    optimizer_of = partial(make_optimizer, params)
    check_step(normalized, loss, optimizer_of, mixing(few) if mixing else few, num_classes, multilabel=multilabel)
    make_scheduler(params, optimizer_of(normalized), total_steps=train.epochs, mode=mode)
    trained = make_probe(network, preprocessing, few["images"]) if train.cache_features else normalized
    classifier = make_classifier(
        params,
        trained,
        {"train_rows": train_rows, "train_labels": pack.labels[train_rows]},
        loss=loss,
        # A mean by weights would depend on which pictures are in a batch together.
        val_loss=make_loss(params, {}, multilabel=multilabel) if of_classes else loss,
        make_optimizer=optimizer_of,
        make_scheduler=lambda optimizer, steps: make_scheduler(params, optimizer, total_steps=steps, mode=mode),
        num_classes=num_classes,
        multilabel=multilabel,
        further=further,
        monitor=train.monitor,
        seed=params.base.seed,
        lr_table=train.lr_table,
        mixing=mixing,
        teacher=teacher,
        frozen=frozen,
        unfreeze_epoch=train.unfreeze_epoch,
        average=Average(trained, train) if train.ema is not None or train.swa is not None else None,
        adaptive_clip=train.adaptive_clip,
        merged=merged,
    )
    size = measure(merged.network if merged else normalized, few["images"][:1], trained=normalized)
    return Plan(params, classifier, preprocessing, transforms, num_classes, size, weights, started, mode)


def _start(start: Start, network: Normalized, params: Params, images: Tensor, classes: list[str]) -> str:
    """Give the network the weights of another model; returns what is said of it."""
    model = params.train.model

    def build_other() -> nn.Module:
        """One class more; lazy layers get their shape from the pictures (N, C, H, W) uint8."""
        with torch.random.fork_rng(devices=[]):
            built = networks.build_network(
                networks.without_weights(model) if isinstance(model, Network) else model.with_given(num_classes=len(classes) + 1),
                num_classes=len(classes) + 1,
                channels=images.shape[1],
                allow=params.base.allow_targets,
            )
            with torch.no_grad():
                built.eval()(images.float())
        return nn.ModuleDict({"network": built})

    return start.give(network, build_other, classes)


def make_classifier(params: Params, network: nn.Module, filled: Mapping[str, Any], **given: Any) -> Classifier:
    """Return what `train.module` names, or Darkroom's own; `filled` is for what takes it by name.

    Raises
    ------
    InputError
        If it is no `Classifier`, or has an optimization of its own.
    """
    target = params.train.module
    if target is None:
        return Classifier(network, **given)
    builder = Builder("train.module", (Classifier,), params.base.allow_targets, filled)
    classifier: Classifier = builder.build(target, network, **given)
    # Averages, clipping and resuming go by Lightning's steps.
    if not classifier.automatic_optimization:
        raise InputError(
            f"params.yaml: train.module: {target.target} sets automatic_optimization to False, which is not possible here; "
            "let training_step return the loss"
        )
    return classifier


def make_loss(params: Params, weights: dict[str, Tensor], *, multilabel: bool) -> nn.Module:
    """Return the loss that `train.loss` names, with the weights that `class_weights` returns."""
    filled = {**weights, "multilabel": multilabel}
    builder = Builder("train.loss", (nn.Module,), params.base.allow_targets, filled)
    taken = inspect.signature(builder.find(params.train.loss.target)).parameters
    for name in weights:
        if name not in taken or name in params.train.loss.arguments:
            raise InputError(
                f"params.yaml: train.class_weights: {params.train.loss.target} "
                f"{'has' if name in taken else 'does not take'} a {name} {'of its own' if name in taken else 'of classes'}; "
                f"set one of the two to null, or name another loss"
            )
    loss: nn.Module = builder.build(params.train.loss)
    return loss


def make_optimizer(params: Params, network: nn.Module) -> Optimizer:
    """Return the optimizer that `train.optimizer` names, for a `Normalized` network, with the rate the schedule begins with."""
    train = params.train
    lr = train.lr_table[max(train.lr_table)] if train.lr_table else train.lr
    # One kernel for all parameters, where the optimizer has one: faster, with the same result.
    fused = {} if {"foreach", "differentiable"} & set(train.optimizer.arguments) else {"fused": True}
    builder = Builder("train.optimizer", (Optimizer,), params.base.allow_targets, {"lr": lr, **fused})
    optimizer: Optimizer = builder.build(train.optimizer, parameter_groups(network.network, train, lr))  # type: ignore[arg-type]
    if not train.decay_norm_and_bias and not optimizer.defaults.get("weight_decay"):
        warn("params.yaml: train.decay_norm_and_bias has no effect while the optimizer has no weight_decay")
    return optimizer


def make_scheduler(params: Params, optimizer: Optimizer, *, total_steps: int, mode: Mode) -> LRScheduler | None:
    """Return the schedule that `train.scheduler` names; lengths and peak that it asks for by name are filled in.

    It begins where `train.lr_table` ends. `mode` is that of the monitored metric, on which ReduceLROnPlateau waits.
    """
    train = params.train
    if train.scheduler is None:
        return None
    begun = max(train.lr_table or {}, default=0)
    if begun >= train.epochs:
        return None
    rates = [group["lr"] for group in optimizer.param_groups]
    filled = {
        "total_steps": total_steps - total_steps * begun // train.epochs,
        "T_max": train.epochs - begun,
        "max_lr": rates if len(rates) > 1 else rates[0],
    }
    builder = Builder("train.scheduler", (LRScheduler,), params.base.allow_targets, filled)
    if builder.find(train.scheduler.target) is ReduceLROnPlateau:  # CyclicLR has a mode of another kind
        filled["mode"] = mode
    scheduler: LRScheduler = builder.build(train.scheduler, optimizer)
    return scheduler


def _natural_size(pack: Pack) -> int:
    """Return the pictures' own side if all are equal squares, else the 224 pixels that most networks were designed for."""
    side = int(pack.sizes[0, 0])
    return side if (pack.sizes == side).all() else 224


def _normalisation(pack: Pack, rows: Rows, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each of the network's channels, measured on training pictures."""
    mean, std, _ = measure_colours(pack, rows)
    # A set of equal pixels has no deviation; dividing by 1 leaves it as it is.
    std[std < 1e-6] = 1
    repeat = channels // pack.channels
    return tuple(mean.tolist() * repeat), tuple(std.tolist() * repeat)
