"""Test-time augmentation: predictions averaged over several views of an image. N images, C channels, H by W pixels, K classes."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.inference.backends import Network


class TTAModel(nn.Module):
    """Test-time augmentation: the mean of a network's logits over several views of an image.

    Parameters
    ----------
    network
        From (N, C, H, W) uint8 to logits (N, K).
    tta
        `flip`: an image and its mirror image; `flip_shift`: also both of them shifted by 1/32 of their side towards two corners,
        with the border repeated, as in https://arxiv.org/abs/2404.00498 (which weights the views differently).
    """

    def __init__(self, network: Network, tta: str):
        super().__init__()
        self.network, self.tta = network, tta

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K)."""
        views = [images]
        if self.tta == "flip_shift":
            height, width = images.shape[2:]
            down, right = (max(1, round(side / 32)) for side in (height, width))
            # Replication padding is not implemented for bytes.
            padded = functional.pad(images.float(), [right, right, down, down], mode="replicate").to(images.dtype)
            views += [padded[:, :, :height, :width], padded[:, :, 2 * down :, 2 * right :]]
        if self.tta != "none":
            views += [view.flip(-1) for view in views]
        return torch.stack([self.network(view) for view in views]).mean(0)
