"""The preprocessing that is stored with a network's weights, and the network that normalises its images itself."""

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from darkroom.base.params import PositiveFloat, Section


class Preprocessing(Section):
    """From an image to the network's input: shorter side resized, centre cropped, scaled to 0..1, normalised."""

    image_size: Annotated[int, Field(ge=1, le=4096)]
    """Side of the square in pixels."""
    channels: Annotated[int, Field(ge=1, le=3)]
    """C, 1 (grey) or 3 (RGB)."""
    mean: tuple[float, ...]
    """Per channel, of values between 0 and 1."""
    std: tuple[PositiveFloat, ...]
    """Per channel, of values between 0 and 1."""
    resize: Annotated[int, Field(ge=1)] | None = None
    """Shorter side to which the images were resized beforehand, or null."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std have {len(self.mean)} and {len(self.std)} values for {self.channels} channel(s)")
        return self


class Normalized(nn.Module):
    """A network that starts with its normalisation, so that images are moved to the device as bytes."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.network = network
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            self.register_buffer(name, 255 * torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) uint8."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits
