"""ResNets whose stem does not reduce small images. N images, C channels, H by W pixels, K classes."""

from collections.abc import Sequence

from torch import Tensor, nn

from darkroom.hardware.compiler import import_torchvision
from darkroom.models.builtin.blocks import Bottleneck, ResidualBlock, conv_norm_act

# Limits for what a model file may ask for, as in `small_cnn`.
MOST_STAGES, MOST_CHANNELS, MOST_BLOCKS = 8, 4096, 64


class SmallResNet(nn.Module):
    """A 3x3 stem, then stages of residual blocks, each halving the image but the first, then the global average.

    The default is the ResNet-20 of the paper's section 4.2, with 0.27 M parameters, for images of about 32 pixels.

    Parameters
    ----------
    num_classes
        K, the number of logits.
    in_channels
        C.
    widths
        Channels of each stage, 1 to 4096 of at most 8.
    depth
        Blocks of each stage, 1 to 64.
    bottleneck
        Whether blocks are a 1x1, a 3x3 and a 1x1 convolution, rather than two 3x3 ones.
    squeeze_excite
        Whether each block weights its channels.

    Raises
    ------
    ValueError
        If an argument is out of range.

    References
    ----------
    He et al. 2016, https://arxiv.org/abs/1512.03385; Hu et al. 2018, https://arxiv.org/abs/1709.01507 (`squeeze_excite`).
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        widths: Sequence[int] = (16, 32, 64),
        depth: int = 3,
        bottleneck: bool = False,
        squeeze_excite: bool = False,
    ):
        super().__init__()
        _check(widths, depth)
        block = Bottleneck if bottleneck else ResidualBlock
        self.stem = conv_norm_act(in_channels, widths[0])
        channels, stages = widths[0], []
        for stage, width in enumerate(widths):
            for place in range(depth):
                stride = 2 if stage > 0 and place == 0 else 1
                stages.append(block(channels, width, stride, squeeze_excite=squeeze_excite))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of normalised images (N, C, H, W)."""
        logits: Tensor = self.head(self.blocks(self.stem(images)).mean(dim=(2, 3)))
        return logits


def _check(widths: Sequence[int], depth: int) -> None:
    fits = isinstance(widths, list | tuple) and 1 <= len(widths) <= MOST_STAGES
    if not fits or not all(type(width) is int and 1 <= width <= MOST_CHANNELS for width in widths):
        raise ValueError(
            f"widths must be 1 to {MOST_STAGES} whole numbers of channels from 1 to {MOST_CHANNELS}, one for each stage"
        )
    if type(depth) is not int or not 1 <= depth <= MOST_BLOCKS:
        raise ValueError(f"depth is {depth}, but must be a whole number from 1 to {MOST_BLOCKS}")


def small_resnet18(num_classes: int, in_channels: int, *, zero_init_residual: bool = False) -> nn.Module:
    """Return torchvision's ResNet-18 with a 3x3 stem of stride 1 and no pooling after it, for images of about 32 pixels.

    Parameters
    ----------
    num_classes
        Number of logits.
    in_channels
        1 for grey images and 3 for colour.
    zero_init_residual
        Whether every block is the identity at first.

    References
    ----------
    He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2 (the stem).
    """
    import_torchvision()
    from torchvision.models import get_model

    network: nn.Module = get_model("resnet18", weights=None, num_classes=num_classes, zero_init_residual=zero_init_residual)
    network.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network
