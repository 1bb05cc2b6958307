"""Where in an image the logit of a class comes from. N images, C channels, H by W pixels, K classes.

Each value of a layer with places is multiplied by the gradient of the logit with respect to it, and summed over channels;
positive sums are heat. Where the network ends with the mean over places, this is Grad-CAM; elsewhere Grad-CAM, which takes the
mean of the gradients first, may mark places that the logit does not depend on.

In a transformer the layer is that of the patches, far from the logit: the gradient is the mean on the way from the mean patch to
the patches as they are.

Of networks side by side each has its layer. The products of all are added up, each as a share of its network's places, so that a
network counts by what it gives to the logit, not by how fine its map is.

References
----------
Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391 (Grad-CAM)
Draelos and Carin 2020, https://arxiv.org/abs/2011.08891 (HiResCAM, the product computed here)
Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365 (integrated gradients, the mean on the way)
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from darkroom.explanation.spatial_layer import Layer, find_layers, fixed, replaced
from darkroom.models.preprocessing import Normalized

# Images to find the layer with.
FEW = 2
# Images of one pass have at most this many pixels, so that activations need little memory.
PIECE_PIXELS = 16 * 224**2
# Of a transformer, all layers are computed backwards.
PIECE_PIXELS_OF_TOKENS = 4 * 224**2
# Points on the way to the patches.
STEPS = 4

Heat = NDArray[np.float32]
"""(N, H, W), from 0 to the largest value of its image, which is 1; all 0 where nothing speaks for the class."""


class Explainer:
    """Computes the heat of images for a network.

    Parameters
    ----------
    network
        In evaluation mode.
    images : (n, C, H, W) uint8, or float32
        A few images, to find the layer with.
    positive
        Label of the positive class of a binary task, whose network has one logit.

    Attributes
    ----------
    layers : list of Layer
        The layer; of networks side by side one of each.

    Raises
    ------
    InputError
        If no layer has places.
    """

    def __init__(self, network: Normalized, images: Tensor, positive: int | None = None):
        self.network, self.positive = network, positive
        self.device = network.mean.device
        few = images[:FEW].repeat(FEW, 1, 1, 1)[:FEW]
        self.layers = find_layers(network.network, self._normalised(few))
        self._is_mixed_later = any(layer.mixed_later for layer in self.layers)

    def heat(self, images: Tensor, classes: NDArray[np.int64]) -> Heat:
        """Return the heat of images (N, C, H, W) uint8 or float32, each for its class, (N,) labels."""
        height, width = images.shape[2:]
        pixels = PIECE_PIXELS_OF_TOKENS if self._is_mixed_later else PIECE_PIXELS
        piece, labels = max(1, pixels // (height * width)), torch.from_numpy(classes)
        parts = (
            [self._of_piece(*each) for each in zip(torch.split(images, piece), torch.split(labels, piece), strict=True)]
            if len(images)
            else []
        )
        return np.concatenate(parts) if parts else np.zeros((0, height, width), np.float32)

    def _of_piece(self, images: Tensor, labels: Tensor) -> Heat:
        normalised, labels = self._normalised(images), labels.to(self.device)
        with torch.enable_grad(), fixed(self.network):
            if self._is_mixed_later:
                steps = [self._products(normalised, labels, (step + 0.5) / STEPS) for step in range(STEPS)]
                products = torch.stack(steps).mean(dim=0)
            else:
                products = self._products(normalised, labels)
        heat = products.relu()
        # Bilinear, so that a map of few places shows no edges which the image does not have.
        larger = functional.interpolate(heat[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        return (larger / larger.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)).cpu().numpy()

    def _products(self, images: Tensor, labels: Tensor, fraction: float | None = None) -> Tensor:
        """Return the layers' outputs times their gradients, summed over channels and layers, on the finest grid, (N, h, w).

        With a fraction, of the difference from the mean place, and with the gradient where that is so much smaller.
        """
        differences: list[Tensor] = []
        inputs: list[Tensor] = []

        def keep(layer: Layer, output: Tensor) -> Tensor:
            output = output.detach()
            start = torch.zeros_like(output) if fraction is None else layer.mean_place(output)
            differences.append(output - start)
            inputs.append((start + differences[-1] * (fraction or 1.0)).requires_grad_())
            return inputs[-1].clone()  # what follows may work in place

        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(replaced(self.network.network, layer.name, layer.call, partial(keep, layer)))
            logits = self.network.network(images)
        gradients = torch.autograd.grad(self._chosen(logits, labels).sum(), inputs)
        products = [
            layer.places(difference.float() * gradient.float())
            for layer, difference, gradient in zip(self.layers, differences, gradients, strict=True)
        ]
        return _added_up(products)

    def _chosen(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the logit of each image's class, (N,); the negative class of a binary task has that of the other, negated."""
        if self.positive is None:
            return logits.gather(1, labels[:, None])[:, 0]
        return torch.where(labels == self.positive, logits[:, 0], -logits[:, 0])

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.to(self.device) - self.network.mean) / self.network.std


def _added_up(products: Sequence[Tensor]) -> Tensor:
    """Return the sum of products (N, h, w) of several grids on the finest one; the sum over all places stays nearly the same."""
    if len(products) == 1:
        return products[0]
    finest = max(products, key=lambda each: each[0].numel())
    height, width = finest.shape[1:]
    return torch.stack(
        [
            functional.interpolate(each[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]
            * (each[0].numel() / (height * width))
            for each in products
        ]
    ).sum(dim=0)
