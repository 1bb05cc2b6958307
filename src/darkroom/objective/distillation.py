"""`train.teacher`: knowledge distillation from a published model.

N images, C channels, H by W pixels, K classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.base.params import Params, Teaching
from darkroom.models.model_json import Card
from darkroom.models.saving import build_published, open_content

KEY = "params.yaml: train.teacher.model"


class Teacher:
    """A published model that only predicts: it is not trained, synchronised, saved in states or published.

    Parameters
    ----------
    name
        As in train.teacher, with the commit.
    card
        The model's card.
    network
        From images (N, C, H, W) of its own size and channels to logits (N, K), in evaluation mode.
    settings
        `train.teacher`.

    References
    ----------
    Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531
    """

    def __init__(self, name: str, card: Card, network: nn.Module, settings: Teaching):
        self.name, self.card, self.settings = name, card, settings
        self.network = network.requires_grad_(False).to(memory_format=torch.channels_last)
        self.origin = card.as_origin(f"teacher: {name}")

    def __str__(self) -> str:
        return f"teacher {self.name} (weight {self.settings.weight:g}, temperature {self.settings.temperature:g})"

    def check(self, images: Tensor, classes: list[str], *, multilabel: bool, positive: int | None = None) -> None:
        """Check the classes, and predict images (N, C, H, W) uint8 once.

        Raises
        ------
        InputError
            If the teacher has other classes or another task, or predicts NaN or infinity.
        """
        if self.card.classes != classes:
            raise InputError(
                f"{KEY}: {self.name} has {_shown(self.card.classes)}, but the data has {_shown(classes)}; "
                "name a model with the same classes in the same order"
            )
        if (self.card.task == "multilabel") != multilabel:
            raise InputError(
                f"{KEY}: {self.name} predicts {'one class' if multilabel else 'any number of classes'} per image, "
                "unlike the labels of the data; name another model"
            )
        if self.card.positive != positive:
            ours, theirs = (
                "one output for each class" if label is None else f"one output, for {classes[label]}"
                for label in (positive, self.card.positive)
            )
            raise InputError(f"{KEY}: {self.name} has {theirs}, but this network {ours}; name a model of the same train.task")
        seen = self.card.preprocessing
        known = (1, 3) if seen.bands is None else (seen.channels,)
        if images.shape[1] not in known or images.is_floating_point() != (seen.dtype != "uint8"):
            raise InputError(
                f"{KEY}: {self.name} was trained on {seen.channels} channel(s) of {seen.dtype}, unlike the images, which have "
                f"{images.shape[1]} of {str(images.dtype).removeprefix('torch.')}; name another model"
            )
        if not torch.isfinite(self.predict(images)).all():
            raise InputError(f"{KEY}: {self.name} predicts NaN or infinity; name another model")

    def to(self, device: torch.device) -> None:
        """Move the teacher to a device."""
        self.network.to(device)

    def __call__(self, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Return the weighted sum of the loss of the labels and the distillation loss.

        Parameters
        ----------
        loss : ()
            Of the labels.
        logits : (N, K)
            Of the network that is trained.
        images : (N, C, H, W)
            Its images, augmented and blended.
        """
        weight, temperature = self.settings.weight, self.settings.temperature
        other = distillation_loss(logits, self.predict(images), temperature, multilabel=self.card.task != "multiclass")
        return (1 - weight) * loss + weight * other

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) of any size, in grey or RGB, or of the teacher's bands."""
        shape, channels = self.card.preprocessing.shape, self.card.preprocessing.channels
        if images.shape[1] != channels:
            from torchvision.transforms.v2.functional import rgb_to_grayscale  # most trainings have no teacher

            images = rgb_to_grayscale(images) if channels == 1 else images.expand(-1, channels, -1, -1)
        if images.shape[2:] != shape:
            images = functional.interpolate(images.float(), shape, mode="bilinear", antialias=True)
        logits: Tensor = self.network(images)
        return logits


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float, *, multilabel: bool) -> Tensor:
    """Return temperature² times the Kullback-Leibler divergence of the student's softened predictions from the teacher's.

    The factor keeps the scale of the gradient independent of the temperature.

    Parameters
    ----------
    student, teacher : (N, K)
        Logits.
    temperature
        Divides the logits.
    multilabel
        Whether outputs are independent of each other, or there is only one.

    Returns
    -------
    divergence : ()
        The mean over images; of independent classes, over images and classes.
    """
    # Half precision loses differences between small probabilities.
    dtype = torch.promote_types(student.dtype, torch.float32)
    student, teacher = student.to(dtype) / temperature, teacher.to(dtype) / temperature
    if multilabel:
        entropy = functional.binary_cross_entropy_with_logits
        value = entropy(student, teacher.sigmoid()) - entropy(teacher, teacher.sigmoid())
    else:
        wanted = teacher.log_softmax(dim=1)
        value = functional.kl_div(student.log_softmax(dim=1), wanted, reduction="batchmean", log_target=True)
    return temperature**2 * value


def open_teacher(name: str, content: Mapping[str, bytes], params: Params) -> Teacher:
    """Verify and build the model of `train.teacher`; `content` has the bytes of model.json and model.safetensors.

    Raises
    ------
    InputError
        If a file is damaged, or the model was trained with another `_target_` than params.yaml names.
    """
    assert params.train.teacher is not None
    card, weights = open_content(KEY, name, content)
    network = build_published(card, weights, params, where=f"{KEY}: model.json of {name}", advice="name another model")
    return Teacher(name, card, network, params.train.teacher)


def _shown(classes: list[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:3])}{', …' if len(classes) > 3 else ''})"
