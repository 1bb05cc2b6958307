"""How an image looks as a whole, whatever it shows: four numbers, for comparing photos of one source with those of another.

H by W pixels.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.bands import shown_image
from darkroom.data.images import ImageArray
from darkroom.data.resizing import resize

APPEARANCE = ("brightness", "contrast", "saturation", "sharpness")
# Pixels of the shorter side at which images are measured: sharpness depends on the scale.
SIDE = 224


def measure_appearance(image: ImageArray) -> NDArray[np.float32]:
    """Return the numbers that `APPEARANCE` names, (4,).

    Brightness and contrast are mean and standard deviation of the luma, 0 to 255; saturation is the mean of the greatest minus
    the least colour of a pixel. Sharpness is the logarithm of the variance of the luma's Laplacian [1]_.

    Parameters
    ----------
    image : (H, W) or (H, W, C)
        As it is stored.

    References
    ----------
    .. [1] J. L. Pech-Pacheco, G. Cristóbal, J. Chamorro-Martínez, J. Fernández-Valdivia, "Diatom autofocusing in brightfield
       microscopy: a comparative study", ICPR 2000.
    """
    shown = resize(shown_image(image if image.ndim == 3 else image[..., None]), SIDE)
    colours = shown.reshape(*shown.shape[:2], -1)
    luma = np.asarray(Image.fromarray(colours[..., 0] if colours.shape[2] == 1 else colours).convert("L"), np.float32)
    saturation = float((colours.max(axis=2) - colours.min(axis=2)).mean())
    inner = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * inner
    sharpness = float(np.log1p(laplacian.var())) if inner.size else 0.0
    return np.array([luma.mean(), luma.std(), saturation, sharpness], np.float32)
