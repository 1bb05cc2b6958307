"""A network for small colour pictures that learns fast: its first layer is not trained but whitens what the pictures are made of.

N pictures, C channels, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 2


class WhitenedCNN(nn.Module):
    """A frozen layer that whitens patches of 2 by 2 pixels, then blocks of two 3x3 convolutions, each halving the picture.

    Convolutions begin as the identity, as far as they have outputs for it; normalisation has no scale, and logits are divided by
    a constant, so that a high learning rate fits all layers.

    Parameters
    ----------
    num_classes
        K, the number of logits.
    in_channels
        C, 1 for grey pictures and 3 for colour.
    widths
        Channels of each block; a picture needs at least 2 ** (len(widths) + 1) pixels a side.

    References
    ----------
    Jordan 2024, https://arxiv.org/abs/2404.00498 (airbench94, of widths 64, 256 and 256).
    """

    def __init__(self, num_classes: int, in_channels: int, *, widths: Sequence[int] = (64, 256, 256)):
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"widths is {list(widths)}, but must be numbers of channels, one for each block")
        self.whiten = nn.Conv2d(in_channels, 2 * in_channels * PATCH**2, kernel_size=PATCH)
        self.whiten.weight.requires_grad_(False)
        channels = self.whiten.out_channels
        blocks = []
        for width in widths:
            blocks.append(_Block(channels, width))
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, num_classes, bias=False)

    @torch.no_grad()
    def fit_to(self, images: Tensor) -> None:
        """Set the first layer from normalised pictures (N, C, H, W); the train stage calls it with training pictures.

        Its outputs are uncorrelated and of variance 1 then, each with its negative beside it.
        """
        patches = functional.unfold(images, PATCH).transpose(1, 2).flatten(0, 1).double()  # patches, C 4
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        # Directions in which pictures hardly differ are compression's noise rather than signal.
        weight = vectors / (values + 5e-4).sqrt()  # C 4, filters
        filters = weight.T.flip(0).reshape(-1, images.shape[1], PATCH, PATCH)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        if self.whiten.bias is not None:
            self.whiten.bias.zero_()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of normalised images (N, C, H, W)."""
        features = self.blocks(functional.gelu(self.whiten(images)))
        logits: Tensor = self.head(features.amax(dim=(2, 3)))
        return logits / 9


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
    # Quick to follow: a training of few epochs has few steps.
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad_(False)
    return norm
