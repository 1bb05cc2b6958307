"""The first convolution of a pretrained network, adapted to another number of channels."""

from torch import nn
from torch.nn import Parameter


def adapt_stem(network: nn.Module, channels: int) -> None:
    """Adapt the first convolution to `channels` in place of RGB, as timm does.

    For grey images its weights are summed; for more channels they are repeated (red, green, blue, red, …) and scaled by
    3 / channels, so that images of equal channels cause about the response that they caused before.
    """
    from timm.models import adapt_input_conv

    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    first.weight = Parameter(adapt_input_conv(channels, first.weight.detach()))
    first.in_channels = channels
