"""What the network sees of a few training images, epoch after epoch. N images, C channels, H by W pixels."""

import numpy as np
from numpy.typing import NDArray

from darkroom.data.bands import shown_image
from darkroom.data.pack import Rows
from darkroom.input.dataset import ImageDataset
from darkroom.training.plan import Plan

# As many as fit in a row of a sheet, beside the image without augmentation.
MAX_EPOCHS = 7


def augmented_views(plan: Plan, rows: Rows) -> list[NDArray[np.uint8]]:
    """Return training images without augmentation, then as the network sees them in the first, second, … epoch.

    They are the very images of the training, for augmentation is a function of seed, epoch and image.

    Parameters
    ----------
    plan
        The training.
    rows : (N,)
        Of the pack.

    Returns
    -------
    views : list of (N, H, W, C) uint8
        One more than epochs are shown.
    """
    epochs = range(min(MAX_EPOCHS, plan.params.train.epochs))
    return [_images(plan.images.plain(), 0, rows), *(_images(plan.images, epoch, rows) for epoch in epochs)]


def _images(dataset: ImageDataset, epoch: int, rows: Rows) -> NDArray[np.uint8]:
    images = dataset[epoch, rows]["images"].permute(0, 2, 3, 1).numpy()
    return np.stack([shown_image(image) for image in images])
