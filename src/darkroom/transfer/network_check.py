"""Whether a network takes images of a size and returns logits, found with a few images before anything is trained.

N images, C channels, H by W pixels, K classes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError, described

KEY = "params.yaml: train.model"


def check_network(network: nn.Module, images: Tensor, num_classes: int) -> None:
    """Pass images (N, C, H, W) uint8 through the network in evaluation mode; lazy layers get their shapes here.

    Raises
    ------
    InputError
        If the network does not fit the image size, the channels or the number of classes.
    """
    with state_kept(network), torch.no_grad():
        checked_logits(network.eval(), images, num_classes)


@contextmanager
def state_kept(network: nn.Module) -> Iterator[None]:
    """Restore the network's mode and torch's random generator at the end of the block."""
    was_training = network.training
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        network.train(was_training)


def checked_logits(network: nn.Module, images: Tensor, num_classes: int) -> Any:
    """Return the logits (N, K) of images (N, C, H, W) uint8.

    Raises
    ------
    InputError
        If the network fails on these images, or returns anything else.
    """
    num, channels, height, width = images.shape
    size = height if height == width else f"{height} x {width}"
    try:
        logits = network(images)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{KEY}: does not take images of {size} pixels and {channels} channel(s) ({described(error)}); "
            "change train.image_size or train.model"
        ) from error
    if isinstance(logits, Tensor) and logits.shape == (num, num_classes):
        return logits
    found = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
    mode = " in training mode" if network.training else ""
    raise InputError(f"{KEY}: returns {found}{mode}, not logits {(num, num_classes)}; give it {num_classes} outputs")
