"""Several pretrained networks of timm side by side, with one last layer. N images, C channels, H by W pixels, K classes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.base.params import Network
from darkroom.models.timm.network import timm_network

SIDE_BY_SIDE = "side_by_side"
NETWORKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")


def members(model: Network) -> list[Network]:
    """Return timm's networks that `train.model` puts side by side."""
    names = model.kwargs.get("networks", NETWORKS)
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"params.yaml: train.model.kwargs.networks: is {names!r}, but should be a list of timm's networks; "
            f"set it to [{', '.join(NETWORKS)}]"
        )
    return [Network(provider="timm", name=name, pretrained=model.pretrained, kwargs={}) for name in names]


class SideBySide(nn.Module):
    """The features of each network, scaled to length 1, side by side, then a linear layer `head`.

    The scale makes features of several networks count alike, and a logistic regression on them better.

    Parameters
    ----------
    num_classes
        K.
    in_channels
        C.
    networks
        As `members` returns them.
    """

    def __init__(self, num_classes: int, in_channels: int, networks: Sequence[Network]):
        super().__init__()
        self.networks = nn.ModuleList(timm_network(each, num_classes=0, channels=in_channels) for each in networks)
        sizes = [int(getattr(network, "num_features", 0)) for network in self.networks]
        self.head = nn.Linear(sum(sizes), num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the features (N, D) of normalised images (N, C, H, W)."""
        return torch.cat([functional.normalize(network(images).float(), dim=1) for network in self.networks], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of normalised images (N, C, H, W)."""
        logits: Tensor = self.head(self.features(images))
        return logits
