"""`train.teacher`: a published model whose answers are learnt beside the labels.

N images, C channels, H by W pixels, K classes.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.errors import InputError
from darkroom.models.card import Card
from darkroom.models.saving import build_published, open_content
from darkroom.params import Params, Teaching

KEY = "params.yaml: train.teacher.model"


class Teacher:
    """A published model that is only asked: no part of what is trained, synchronised, saved in a state or published.

    Parameters
    ----------
    name
        As it was asked for, with the commit.
    card
        What is known of it.
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
        return f"taught by {self.name} (weight {self.settings.weight:g}, temperature {self.settings.temperature:g})"

    def check(self, images: Tensor, classes: list[str], *, multilabel: bool) -> None:
        """Ask it once, about images (N, C, H, W) uint8 of these classes.

        Raises
        ------
        InputError
            If it does not know the same classes, or has no finite answer.
        """
        if self.card.classes != classes:
            raise InputError(
                f"{KEY}: {self.name} knows {_shown(self.card.classes)}, but the data has {_shown(classes)}; "
                "name a model of the same classes in the same order"
            )
        if (self.card.task == "multilabel") != multilabel:
            raise InputError(
                f"{KEY}: {self.name} is of images with {'one class' if multilabel else 'any number of classes'} each, "
                "which these have not; name another model"
            )
        if not torch.isfinite(self.answer(images)).all():
            raise InputError(f"{KEY}: {self.name} answers with NaN or infinity; name another model")

    def to(self, device: torch.device) -> None:
        """Move it to where the images are."""
        self.network.to(device)

    def __call__(self, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Return the loss that is trained on, from the one of the labels.

        Parameters
        ----------
        loss : ()
            Of the labels.
        logits : (N, K)
            What the network that is trained answers.
        images : (N, C, H, W)
            The images that it was given, augmented and blended.
        """
        weight, temperature = self.settings.weight, self.settings.temperature
        other = distillation_loss(logits, self.answer(images), temperature, multilabel=self.card.task == "multilabel")
        return (1 - weight) * loss + weight * other

    @torch.no_grad()
    def answer(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) of any size, in grey or RGB."""
        size, channels = self.card.preprocessing.image_size, self.card.preprocessing.channels
        if images.shape[1] != channels:
            from torchvision.transforms.v2.functional import rgb_to_grayscale  # most trainings have no teacher

            images = rgb_to_grayscale(images) if channels == 1 else images.expand(-1, channels, -1, -1)
        if images.shape[2:] != (size, size):
            images = functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
        logits: Tensor = self.network(images)
        return logits


def distillation_loss(logits: Tensor, wanted: Tensor, temperature: float, *, multilabel: bool) -> Tensor:
    """Return temperature² times the Kullback-Leibler divergence of one model's answers from those of another, both made softer.

    The factor keeps the gradient's size as it is without a temperature.

    Parameters
    ----------
    logits, wanted : (N, K)
        Of the one that learns, and of the one that teaches.
    temperature
        Divides both.
    multilabel
        Whether classes are independent of each other.

    Returns
    -------
    divergence : ()
        The mean over images; of independent classes, over images and classes.
    """
    # Differences between small probabilities are lost in half precision.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    logits, wanted = logits.to(dtype) / temperature, wanted.to(dtype) / temperature
    if multilabel:
        entropy = functional.binary_cross_entropy_with_logits
        value = entropy(logits, wanted.sigmoid()) - entropy(wanted, wanted.sigmoid())
    else:
        shares = wanted.log_softmax(dim=1)
        value = functional.kl_div(logits.log_softmax(dim=1), shares, reduction="batchmean", log_target=True)
    return temperature**2 * value


def open_teacher(name: str, content: Mapping[str, bytes], params: Params) -> Teacher:
    """Verify and build the model of `train.teacher` that was read; its content is the bytes of model.json and model.safetensors.

    Raises
    ------
    InputError
        If it is damaged, or was trained with a `_target_` that params.yaml does not name, too.
    """
    assert params.train.teacher is not None
    card, weights = open_content(KEY, name, content)
    network = build_published(card, weights, params, where=f"{KEY}: model.json of {name}", way_out="name another model")
    return Teacher(name, card, network, params.train.teacher)


def _shown(classes: list[str]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:3])}{', …' if len(classes) > 3 else ''})"
