"""The pixels within an export are those of Pillow, for every way, shape and number of channels."""

import numpy as np
import pytest
import torch

from darkroom.data.resizing import Way, fit
from darkroom.export.fitting import Fitted


@pytest.mark.parametrize("way", ["crop", "squash", "letterbox"])
@pytest.mark.parametrize(("shape", "channels"), [((32, 32), 3), ((24, 24), 1), ((16, 40), 3), ((45, 20), 3)])
def test_every_pixel_is_pillows(way: Way, shape: tuple[int, int], channels: int) -> None:
    random = np.random.default_rng(0)
    fitted = Fitted(shape, channels, way)
    sizes = [shape, (1, 90), (200, 3), *random.integers(5, 300, (12, 2)).tolist()]
    for height, width in sizes:
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = fitted(torch.from_numpy(image)[None])[0].permute(1, 2, 0).numpy()
        assert np.array_equal(found, fit(image, shape, channels, way)), (height, width)
