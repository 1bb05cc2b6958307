"""A network whose head is trained on features that were computed once. N images, C channels, H by W pixels, K classes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.base.params import TrainParams
from darkroom.models.layers import head_name
from darkroom.models.preprocessing import Normalized, Preprocessing, use_memory_format

KEY, FIT_KEY = "params.yaml: train.cache_features", "params.yaml: train.fit_head"

# Another batch size may use another kernel.
TOLERANCE = 1e-3


class Probe(Normalized):
    """A network that also takes features in place of images; its weights keep their names.

    Attributes
    ----------
    shape : torch.Size
        Shape of the features of one image, known once `features` was called.
    """

    shape = torch.Size()

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__(network, preprocessing)
        self.head_name = head_name(network)
        self.image_dtype, self.image_shape = preprocessing.image_dtype, (preprocessing.channels, *preprocessing.shape)

    @property
    def head(self) -> nn.Module:
        """The module that is trained."""
        return self.network.get_submodule(self.head_name)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) uint8, or of their features (N, …) float."""
        if images.dtype == self.image_dtype and (images.dtype == torch.uint8 or images.shape[1:] == self.image_shape):
            return super().forward(images)
        logits: Tensor = self.head(images.to(self.mean.dtype))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Return the features (N, …) of images (N, C, H, W) uint8.

        Raises
        ------
        InputError
            If the head is not called once, with one tensor.
        """
        given: list[Any] = []

        def record(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            # The head may change its input in place.
            given.extend(value.clone() if isinstance(value, Tensor) else None for value in (*arguments, *named.values()))

        handle = self.head.register_forward_pre_hook(record, with_kwargs=True)
        try:
            super().forward(images)
        finally:
            handle.remove()
        if len(given) != 1 or given[0] is None or len(given[0]) != len(images):
            raise self._unfit()
        features: Tensor = given[0]
        self.shape = features.shape[1:]
        return features

    @torch.no_grad()
    def check(self, images: Tensor, key: str = KEY) -> None:
        """Refuse a network whose logits are not its head's output for each image's features.

        Raises
        ------
        InputError
            Naming the key and the network.
        """
        if not self.head_name:
            raise self._unfit(key)
        with evaluating(self):
            features = self.features(images)
            if features.dtype == self.image_dtype and self.shape == self.image_shape:
                raise self._unfit(key)
            alone = torch.cat([self.features(image[None]) for image in images])
            if not (_agree(self(features), self(images)) and _agree(alone, features)):
                raise self._unfit(key)
        if key == FIT_KEY and not (isinstance(self.head, nn.Linear) and self.head.bias is not None and len(self.shape) == 1):
            raise InputError(
                f"{key}: fits a linear layer with a bias on a vector of features, but the last layer of "
                f"{type(self.network).__name__} ({self.head_name}) is another; set it to null"
            )

    def _unfit(self, key: str = KEY) -> InputError:
        return InputError(
            f"{key}: cannot be used with {type(self.network).__name__}, whose logits are not the output of one last module "
            f"({self.head_name or 'there are several'}) for each image; set it to {'false' if key == KEY else 'null'}"
        )


def key_of(train: TrainParams) -> str:
    """Return the setting for which features are computed."""
    return KEY if train.cache_features else FIT_KEY


def make_probe(network: nn.Module, preprocessing: Preprocessing, images: Tensor, train: TrainParams | None = None) -> Probe:
    """Return a network whose head is trained or fitted on features, checked on images (N, C, H, W) uint8.

    Raises
    ------
    InputError
        If its logits are not its head's output.
    """
    probe = Probe(network, preprocessing)
    if train is not None:
        use_memory_format(probe, train.memory_format)
    for key in [KEY] if train is None else [KEY] * train.cache_features + [FIT_KEY] * (train.fit_head is not None):
        probe.check(images, key)
    return probe


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Set evaluation mode within the block; frozen parts are set again when training starts."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def _agree(found: Tensor, wanted: Tensor) -> bool:
    return found.shape == wanted.shape and bool((found - wanted).abs().max() <= TOLERANCE * wanted.abs().max())
