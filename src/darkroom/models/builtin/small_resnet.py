"""ResNets whose stem does not reduce small images."""

from torch import nn


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
    from torchvision.models import get_model

    network: nn.Module = get_model("resnet18", weights=None, num_classes=num_classes, zero_init_residual=zero_init_residual)
    network.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network
