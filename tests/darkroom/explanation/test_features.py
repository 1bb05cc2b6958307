"""Features before the last layer, and what a person is shown of what a network is given."""

from typing import Any

import numpy as np
import pytest
import torch
from explanation_fixtures import digits_predictor
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.explanation.features import compute_features, evenly, picture_of


@pytest.mark.parametrize(("bands", "shown"), [(1, 1), (2, 1), (3, 3), (5, 3)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_bands_are_shown_as_grey_or_colours(bands: int, shown: int, dtype: torch.dtype) -> None:
    image = (torch.rand(bands, 6, 7) * 255).to(dtype)
    picture = picture_of(image)
    assert (picture.shape, picture.dtype) == ((6, 7, shown), np.uint8)
    if dtype == torch.uint8:
        assert np.array_equal(picture, image[:shown].permute(1, 2, 0).numpy())


class TwoHeads(nn.Module):
    """A network without a last layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 10))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) @ self.weight


def test_a_network_without_a_last_layer_is_one_line(digits: Any) -> None:
    predictor = digits_predictor(digits, network=TwoHeads())
    with pytest.raises(InputError, match=r"^models: its network has no single last layer, so its images have no features; name"):
        compute_features(predictor, digits.pack, np.arange(4), 2)


def test_rows_are_taken_at_equal_distances() -> None:
    assert evenly(np.arange(10), 5).tolist() == [0, 2, 4, 6, 8]
    assert evenly(np.arange(3), 5).tolist() == [0, 1, 2]
