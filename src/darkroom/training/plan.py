"""From params.yaml to a training that can start: everything is built and tried once before the first batch."""

from dataclasses import dataclass
from typing import Any

import torch

from darkroom.base.errors import InputError
from darkroom.base.instantiate import Builder
from darkroom.base.params import Network, Params
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.hardware import devices
from darkroom.hardware.processes import check_processes
from darkroom.input.dataset import ImageDataset
from darkroom.input.preprocess import ImageReader, build_preprocess
from darkroom.input.training_images import build_training_images
from darkroom.models.huggingface.network import HuggingFaceClassifier
from darkroom.models.licence import check_licence
from darkroom.models.networks import network_channels
from darkroom.models.preprocessing import Preprocessing
from darkroom.objective.distillation import Teacher
from darkroom.objective.objective import Objective, build_objective
from darkroom.training.callbacks.named import check_callbacks
from darkroom.training.checkpoints.resume_from import Earlier
from darkroom.training.classifier import Classifier
from darkroom.training.dry_run import dry_run
from darkroom.training.observing.loggers import check_loggers
from darkroom.training.trainer import check_trainer_arguments
from darkroom.transfer.init_from import InitialWeights
from darkroom.transfer.trainable import TrainableModel, build_model


@dataclass(frozen=True)
class Plan:
    """A training that was checked and can start.

    Attributes
    ----------
    params : Params
        All of params.yaml.
    model : TrainableModel
        The network, and what it starts with.
    images : ImageDataset
        The training images, augmented; `images.plain()` are those of a validation.
    classifier : Classifier
        What Lightning trains.
    earlier : Earlier or None
        The training that `train.resume_from` names.
    """

    params: Params
    model: TrainableModel
    images: ImageDataset
    classifier: Classifier
    earlier: Earlier | None = None

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return self.classifier.objective

    @property
    def preprocessing(self) -> Preprocessing:
        """What the network expects of an image."""
        return self.model.preprocessing

    @property
    def computes(self) -> dict[str, str]:
        """How a step is computed, by key of `train`."""
        return self.params.train.model_dump(include={"precision", "memory_format"})

    @property
    def about(self) -> dict[str, Any]:
        """What model.json records of the network beside `train.model`."""
        network, origin, teacher = self.model.network.network, self.model.origin, self.objective.teacher
        positive = self.model.positive
        return {
            "config": network.config if isinstance(network, HuggingFaceClassifier) else None,
            "origin": origin.model_dump() if origin else None,
            "teacher": teacher.origin.model_dump() if teacher else None,
            "resumed": self.earlier.record.model_dump() if self.earlier else None,
            "size": self.model.size.model_dump(),
            "frozen": self.model.frozen.names,
            **self.computes,
            "machine": devices.machine(self.params.hardware),
            **({} if positive is None else {"positive_class": self.images.pack.classes[positive]}),
        }

    def lines(self) -> list[str]:
        """Return what the log says of it before it starts."""
        model, teacher = self.params.train.model, self.objective.teacher
        name = model.name if isinstance(model, Network) else model.target
        frozen = self.model.frozen.line(self.params.train.unfreeze_epoch)
        lines = [
            self.model.loaded,
            f"{name}, {self.model.size}",
            frozen,
            str(teacher) if teacher else None,
            devices.idle_cores(self.params),
        ]
        return [line for line in lines if line]


def make_plan(
    params: Params,
    pack: Pack,
    rows: Rows,
    initial: InitialWeights | None = None,
    teacher: Teacher | None = None,
    earlier: Earlier | None = None,
) -> Plan:
    """Build all that params.yaml names, and check that it fits together and fits the machine.

    Parameters
    ----------
    params
        All of params.yaml.
    pack
        The images.
    rows : (M,)
        The training images.
    initial, teacher
        The models that `train.init_from` and `train.teacher` name.
    earlier
        The training that `train.resume_from` names.

    Raises
    ------
    InputError
        Naming the key; nothing has been trained or written then.
    """
    _check_machine(params)
    _check_labels(params, pack)
    devices.use_threads(params.train.threads)
    if teacher:
        check_licence(teacher.origin, allow_noncommercial=params.train.allow_noncommercial)
    channels = network_channels(params.train.model, pack.channels)
    preprocess = build_preprocess(params, channels=channels, dtype=pack.dtype)
    torch.manual_seed(params.base.seed)
    start = earlier.initial if earlier and earlier.initial else initial
    model = build_model(params, pack, rows, start, read=ImageReader(pack, preprocess))
    images = build_training_images(params, pack, model.preprocessing, preprocess)
    objective = build_objective(params, model, pack, rows, teacher)
    classifier = build_classifier(params, model, objective, pack, rows)
    train = params.train
    dry_run(classifier, images, rows, epochs=train.epochs, batch_size=train.batch_size, image_sizes=train.image_sizes)
    return Plan(params, model, images, classifier, earlier)


def _check_labels(params: Params, pack: Pack) -> None:
    if params.train.fit_head is not None and is_multilabel(pack.labels):
        raise InputError(
            "params.yaml: train.fit_head: chooses one class for each image, but these have any number of them; set it to null"
        )


def _check_machine(params: Params) -> None:
    """Refuse what this machine, Lightning or the loggers cannot do."""
    devices.check_accelerator(params.hardware)
    check_processes(params, devices.num_processes(params.hardware))
    devices.check_precision(params.train.precision, params.hardware)
    check_trainer_arguments(params)
    check_loggers(params)
    check_callbacks(params)


def build_classifier(params: Params, model: TrainableModel, objective: Objective, pack: Pack, rows: Rows) -> Classifier:
    """Return the LightningModule that `train.module` names, by default `Classifier`.

    Raises
    ------
    InputError
        If it is no `Classifier`, optimizes by itself, or gives names of `Classifier` another meaning.
    """
    target = params.train.module
    given: dict[str, Any] = {
        "objective": objective,
        "num_classes": model.num_classes,
        "multilabel": is_multilabel(pack.labels),
        "seed": params.base.seed,
    }
    if target is None:
        return Classifier(model.network, **given)
    filled = {"train_rows": rows, "train_labels": pack.labels[rows]}
    builder = Builder("train.module", (Classifier,), params.base.allow_targets, filled)
    classifier: Classifier = builder.build(target, model.network, **given)
    # Averages, clipping and resuming rely on Lightning's steps.
    if not classifier.automatic_optimization:
        raise InputError(
            f"params.yaml: train.module: {target.target} sets automatic_optimization to False, which is not supported; "
            "let training_step return the loss"
        )
    if replaced := classifier.replaced_names():
        raise InputError(
            f"params.yaml: train.module: {target.target} assigns self.{replaced[0]}, which Classifier uses itself; "
            "give it another name"
        )
    return classifier
