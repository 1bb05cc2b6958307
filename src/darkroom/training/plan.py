"""From parameters to a training that can start: everything is built, and checked against the rest, before the first batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from darkroom.data.channel_stats import measure_colours
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.errors import InputError
from darkroom.hardware import devices
from darkroom.input.albumentations import ArrayTransform
from darkroom.input.augment import BatchAugmentation, ImageAugmentation
from darkroom.input.dataset import ImageDataset
from darkroom.instantiate import Builder
from darkroom.metrics.extra import Mode, build_metrics
from darkroom.models import networks
from darkroom.models.huggingface import HuggingFaceClassifier
from darkroom.models.layers import Frozen
from darkroom.models.licence import check_licence
from darkroom.models.lora import add_adapters
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.pretrained import Pretrained, about_weights
from darkroom.models.probe_network import make_probe
from darkroom.models.saving import refuse_unsafe_loading
from darkroom.models.size import Size, measure
from darkroom.objective.averaging import Average
from darkroom.objective.distillation import Teacher
from darkroom.objective.losses import class_weights, make_loss
from darkroom.objective.mixup import Mixing
from darkroom.objective.optimizers import make_optimizer
from darkroom.objective.schedules import make_scheduler
from darkroom.params import Network, Params
from darkroom.training.classifier import Classifier
from darkroom.training.dry_run import check_network, dry_run
from darkroom.training.init_from import Start
from darkroom.training.observing.loggers import check_loggers
from darkroom.training.trainer import check_trainer_arguments

# A network with `fit_to` is set from 2000 images of 32 by 32 pixels, or fewer larger ones: enough patches, in little memory.
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
            "teacher": teacher.origin.model_dump() if (teacher := self.classifier.teacher) else None,
            "size": self.size.model_dump(),
            "precision": self.params.train.precision,
        }

    def lines(self) -> list[str]:
        """Return what is said of it before it starts."""
        model = self.params.train.model
        name = model.name if isinstance(model, Network) else model.target
        teacher = self.classifier.teacher
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
    augmentations = Builder("train.augment", (BatchAugmentation, ImageAugmentation, nn.Module, ArrayTransform), allow)
    transforms = [augmentations.build(target) for target in train.augment]
    images = ImageDataset(pack, image_size=image_size, channels=channels, transforms=transforms, seed=params.base.seed)
    # Not as many as there are classes: a loss that takes labels for logits would broadcast them and not be noticed.
    if multilabel and train.sampler == "balanced":
        raise InputError(
            "params.yaml: train.sampler: balanced needs one class per image, but these have any number; set shuffled"
        )
    few = images[0, train_rows[: 3 if num_classes == 2 else 2]]
    check_network(normalized, few["images"], num_classes)
    for epoch in train.image_sizes or {}:
        check_network(normalized, images.at_sizes(train.image_sizes or {})[epoch, train_rows[:2]]["images"], num_classes)
    fit_to: Any = getattr(network, "fit_to", None)
    if fit_to is not None:
        num = min(len(train_rows), max(1, FITTED_TO_PIXELS // image_size**2))
        spread = np.linspace(0, len(train_rows) - 1, num=num).astype(int)
        seen = ImageDataset(pack, image_size=image_size, channels=channels)[0, train_rows[spread]]["images"]
        fit_to((seen - normalized.mean) / normalized.std)
    if teacher:
        teacher.check(few["images"], pack.classes, multilabel=multilabel)
    started = _start(start, normalized, params, few["images"], pack.classes) if start else None
    normalized = normalized.to(memory_format=torch.channels_last)
    merged, base = add_adapters(normalized, train.lora, few["images"]) if train.lora else (None, [])
    frozen = Frozen(network, train.freeze, base)
    frozen.set(frozen=True)
    optimizer_of = partial(make_optimizer, params)
    dry_run(normalized, loss, optimizer_of, mixing(few) if mixing else few, num_classes, multilabel=multilabel)
    make_scheduler(params, optimizer_of(normalized), total_steps=train.epochs, mode=mode)
    trained = make_probe(network, preprocessing, few["images"]) if train.cache_features else normalized
    classifier = make_classifier(
        params,
        trained,
        {"train_rows": train_rows, "train_labels": pack.labels[train_rows]},
        loss=loss,
        # A mean by weights would depend on which images are in a batch together.
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
        """One class more; lazy layers get their shape from the images (N, C, H, W) uint8."""
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


def _natural_size(pack: Pack) -> int:
    """Return the images' own side if all are equal squares, else the 224 pixels that most networks were designed for."""
    side = int(pack.sizes[0, 0])
    return side if (pack.sizes == side).all() else 224


def _normalisation(pack: Pack, rows: Rows, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each of the network's channels, measured on training images."""
    mean, std, _ = measure_colours(pack, rows)
    # A set of equal pixels has no deviation; dividing by 1 leaves it as it is.
    std[std < 1e-6] = 1
    repeat = channels // pack.channels
    return tuple(mean.tolist() * repeat), tuple(std.tolist() * repeat)
