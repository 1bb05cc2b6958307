"""What the network sees of a few training images, epoch after epoch. N images, C channels, H by W pixels."""

import numpy as np
from numpy.typing import NDArray

from darkroom.data.pack import Pack
from darkroom.input.dataset import ImageDataset
from darkroom.training.plan import Plan

# As many as fit in a row of a sheet, beside the image as it is.
MAX_EPOCHS = 7


def augmented_views(plan: Plan, pack: Pack, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Return images of rows (N,) as the network is given them without augmentation, then of the first, second, … epoch.

    They are the images that the training sees, for augmentation is a function of seed, epoch and image.

    Returns
    -------
    views : arrays (N, H, W, C) uint8
        One more than epochs are shown.
    """
    plain = ImageDataset(pack, image_size=plan.preprocessing.image_size, channels=plan.preprocessing.channels)
    augmented = plain.augmented(plan.transforms, plan.params.base.seed)
    epochs = range(min(MAX_EPOCHS, plan.params.train.epochs))
    return [_images(plain, 0, rows), *(_images(augmented, epoch, rows) for epoch in epochs)]


def _images(batches: ImageDataset, epoch: int, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = batches[epoch, rows]["images"].permute(0, 2, 3, 1).numpy()
    return images
