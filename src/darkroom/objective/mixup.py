"""MixUp and CutMix: images of a batch blended in pairs, and their labels with them.

N images, C channels, H by W pixels, K classes.
"""

from collections.abc import Callable
from typing import Any

import torch

from darkroom.input.dataset import Batch


class Mixing:
    """Blends every batch with torchvision's transforms, which draw from torch's generator, seeded for every step.

    Parameters
    ----------
    mixup, cutmix
        The alphas, or None. With both, each batch gets one of the two at random.
    num_classes
        K.

    References
    ----------
    Zhang et al. 2018, https://arxiv.org/abs/1710.09412; Yun et al. 2019, https://arxiv.org/abs/1905.04899
    """

    def __init__(self, mixup: float | None, cutmix: float | None, num_classes: int):
        from torchvision.transforms import v2  # most trainings do without

        self.transforms: list[Callable[..., Any]] = []
        if mixup is not None:
            blend = v2.MixUp(alpha=mixup, num_classes=num_classes)
            self.transforms.append(lambda images, labels: blend(images.float(), labels))
        if cutmix is not None:
            self.transforms.append(v2.CutMix(alpha=cutmix, num_classes=num_classes))

    def __call__(self, batch: Batch) -> Batch:
        """Return images (N, C, H, W), float if they are blended by MixUp, with soft labels (N, K)."""
        number = int(torch.randint(len(self.transforms), ())) if len(self.transforms) > 1 else 0
        images, labels = self.transforms[number](batch["images"], batch["labels"])
        return {**batch, "images": images, "labels": labels.float()}
