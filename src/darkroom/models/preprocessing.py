"""The preprocessing that is stored with a network's weights, and the network that normalises its images itself."""

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from darkroom.base.params import ImageSize, NumBands, PositiveFloat, Section, Target
from darkroom.data.bands import Bands, DType
from darkroom.data.resizing import Way, height_and_width
from darkroom.data.stored import Form

# What the values of an image are divided by; those of uint16 are floating-point numbers from 0 to 1 already.
SCALES: dict[DType, float] = {"uint8": 255, "uint16": 1, "float32": 1}


class Preprocessing(Section):
    """From an image to the network's input: shorter side resized, `steps` applied, fitted to its size, scaled, normalised."""

    image_size: ImageSize
    """Side of the square in pixels, or height and width."""
    channels: NumBands
    """C, 1 (grey), 3 (RGB) or the number of bands."""
    mean: tuple[float, ...]
    """Per channel, of values between 0 and 1."""
    std: tuple[PositiveFloat, ...]
    """Per channel, of values between 0 and 1."""
    resize: Annotated[int, Field(ge=1)] | None = None
    """Shorter side to which the images were resized beforehand, or null."""
    stored: Form | None = None
    """How data/raw kept them: as pixels, or as files, which are then decoded reduced; null: not known, of older models."""
    way: Way = "crop"
    """How an image of another shape is fitted: `train.resize`."""
    dtype: DType = "uint8"
    """Type of the values; the mean and std of float32 are of the values as they are."""
    bands: Bands | None = None
    """The bands of a file that are used; null: images are grey or RGB."""
    steps: list[Target] = Field(default_factory=list)
    """The transforms of `train.preprocess`."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return height_and_width(self.image_size)

    @property
    def image_dtype(self) -> torch.dtype:
        """The type of the images that the network is given, before they are normalised."""
        return torch.uint8 if self.dtype == "uint8" else torch.float32

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std have {len(self.mean)} and {len(self.std)} values for {self.channels} channel(s)")
        return self


class Normalized(nn.Module):
    """A network that starts with its normalisation, so that images are moved to the device as bytes."""

    mean: Tensor
    std: Tensor
    memory_format = "channels_last"
    """How its images lie in memory, and its weights: see `use_memory_format`."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.network = network
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            self.register_buffer(name, SCALES[preprocessing.dtype] * torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W) uint8, or float32 of other types of values."""
        if self.memory_format == "contiguous":
            # They come with their channels last, and a convolution would go on so; of grey ones `contiguous` changes no stride.
            images = images.clone(memory_format=torch.contiguous_format)
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def use_memory_format(module: nn.Module, memory_format: str) -> None:
    """Lay out the weights of all convolutions, and the images that each `Normalized` in a module is given; no value changes.

    `auto` is channels_last until it is measured, for the finished plan.
    """
    is_contiguous = memory_format == "contiguous"
    module.to(memory_format=torch.contiguous_format if is_contiguous else torch.channels_last)
    for part in module.modules():
        if isinstance(part, Normalized):
            part.memory_format = memory_format
