"""Size of a network: parameters, and multiply-adds per image. C channels, H by W pixels."""

import torch
from torch import Tensor, nn

from darkroom.base.params import Section


class Size(Section):
    """Parameters and multiply-adds of a network."""

    parameters: int
    """Number of weights."""
    trained: int
    """Number of trained weights; with adapters, those of adapters and head."""
    multiply_adds: int
    """Multiplications, each with its addition, of convolutions, matrix products and attention for one image."""

    def __str__(self) -> str:
        return (
            f"{_millions(self.parameters)} parameters ({_millions(self.trained)} trained), "
            f"{_millions(self.multiply_adds)} multiply-adds per image"
        )


def measure(network: nn.Module, image: Tensor, *, trained: nn.Module | None = None) -> Size:
    """Measure a network on an image (1, C, H, W) uint8. `trained` is the network with adapters that is trained in its place.

    References
    ----------
    `FlopCounterMode` counts a multiplication and an addition as two operations: https://docs.pytorch.org/docs/stable/flop_counter.html
    """
    # Imported here, as it imports triton.
    from torch.utils.flop_counter import FlopCounterMode

    was_training = network.training
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), counter:
        network.eval()(image)
    network.train(was_training)
    counts = [value.numel() for value in network.parameters()]
    changed = [value.numel() for value in (trained or network).parameters() if value.requires_grad]
    return Size(parameters=sum(counts), trained=sum(changed), multiply_adds=counter.get_total_flops() // 2)


def _millions(number: int) -> str:
    millions = number / 1e6
    return f"{millions:.3g} M" if millions < 1000 else f"{millions:.0f} M"
