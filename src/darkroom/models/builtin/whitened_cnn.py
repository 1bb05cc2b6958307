"""A network that trains fast: its first layer is not trained but whitens patches of the images.

N images, C channels, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Limits for what a model file may ask for, as in `small_cnn`.
MOST_BLOCKS, MOST_CHANNELS, LARGEST_PATCH = 12, 4096, 16


class WhitenedCNN(nn.Module):
    """A frozen layer that whitens patches of pixels, then blocks of two 3x3 convolutions, each halving the image.

    Convolutions are initialised as the identity, as far as they have outputs for it; normalisation has no scale, and logits are
    divided by a constant, so that one high learning rate suits all layers.

    Parameters
    ----------
    num_classes
        K, the number of logits.
    in_channels
        C, 1 for grey images and 3 for colour.
    widths
        Channels of each block, 1 to 4096 of at most 12; the first layer must leave at least 2 ** len(widths) pixels a side.
    patch, stride
        Side of the whitened patches in pixels, 2 to 16, and the distance between them: more than 1 for larger images.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    Jordan 2024, https://arxiv.org/abs/2404.00498 (airbench94, of widths 64, 256 and 256).
    """

    def __init__(
        self, num_classes: int, in_channels: int, *, widths: Sequence[int] = (64, 256, 256), patch: int = 2, stride: int = 1
    ):
        super().__init__()
        _check(widths, patch, stride)
        self.whiten = _Whitening(in_channels, patch, stride)
        channels = 2 * in_channels * patch**2
        blocks = []
        for width in widths:
            blocks.append(_Block(channels, width))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes, bias=False)

    def fit_to(self, images: Tensor) -> None:
        """Compute the first layer from normalised images (N, C, H, W); the train stage passes training images."""
        self.whiten.fit_to(images)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of normalised images (N, C, H, W)."""
        features = self.blocks(functional.gelu(self.whiten(images)))
        logits: Tensor = self.head(features.amax(dim=(2, 3)))
        return logits / 9


def _check(widths: Sequence[int], patch: int, stride: int) -> None:
    fits = isinstance(widths, list | tuple) and 1 <= len(widths) <= MOST_BLOCKS
    if not fits or not all(type(width) is int and 1 <= width <= MOST_CHANNELS for width in widths):
        raise ValueError(
            f"widths must be 1 to {MOST_BLOCKS} whole numbers of channels from 1 to {MOST_CHANNELS}, one for each block"
        )
    for name, value, least in (("patch", patch, 2), ("stride", stride, 1)):
        if type(value) is not int or not least <= value <= LARGEST_PATCH:
            raise ValueError(f"{name} must be a whole number of pixels from {least} to {LARGEST_PATCH}")


class _Whitening(nn.Module):
    """A convolution with fixed filters and a trained bias."""

    filters: Tensor

    def __init__(self, channels: int, patch: int, stride: int):
        super().__init__()
        self.patch, self.stride = patch, stride
        num = channels * patch**2
        # Any values, for a network whose weights are loaded afterwards.
        self.register_buffer("filters", torch.cat([torch.eye(num), -torch.eye(num)]).view(2 * num, channels, patch, patch))
        self.bias = nn.Parameter(torch.zeros(2 * num))

    def fit_to(self, images: Tensor) -> None:
        """Make the outputs for images (N, C, H, W) uncorrelated, with variance 1, each followed by its negative."""
        columns = functional.unfold(images, self.patch, stride=self.stride)  # N, numbers, places
        patches = columns.transpose(1, 2).flatten(0, 1).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        # Directions in which images hardly differ are noise of the compression rather than signal.
        whitening = (vectors / (values + 5e-4).sqrt()).T.flip(0)  # filters, numbers
        self.filters.copy_(torch.cat([whitening, -whitening]).view_as(self.filters))

    def forward(self, images: Tensor) -> Tensor:
        return functional.conv2d(images, self.filters, self.bias, self.stride)


class _Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.first = _convolution(in_channels, out_channels)
        self.first_norm = _normalisation(out_channels)
        self.second = _convolution(out_channels, out_channels)
        self.second_norm = _normalisation(out_channels)

    def forward(self, images: Tensor) -> Tensor:
        halved = functional.max_pool2d(self.first(images), 2)
        features = functional.gelu(self.first_norm(halved))
        return functional.gelu(self.second_norm(self.second(features)))


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight[: min(in_channels, out_channels)].data)
    return convolution


def _normalisation(channels: int) -> nn.BatchNorm2d:
    # A high momentum, as a training of few epochs has few steps.
    norm = nn.BatchNorm2d(channels, momentum=0.4, affine=False)
    norm.bias = nn.Parameter(torch.zeros(channels))
    return norm
