"""Test-time augmentation: the views of an image, and the mean of their logits."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from darkroom.inference.tta import TTAModel


class Remember(nn.Module):
    """Returns the brightness of the left half, and keeps its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return images[..., : images.shape[-1] // 2].float().flatten(1).mean(1, keepdim=True)


@pytest.mark.parametrize(("tta", "count"), [("none", 1), ("flip", 2), ("flip_shift", 6)])
def test_views(tta: str, count: int) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8))
    network = Remember()
    logits = TTAModel(network, tta)(images)
    assert len(network.seen) == count
    assert all(view.shape == images.shape and view.dtype == torch.uint8 for view in network.seen)
    assert torch.equal(network.seen[0], images)
    half = count // 2
    assert all(torch.equal(network.seen[number].flip(-1), network.seen[half + number]) for number in range(half))
    if tta == "flip_shift":
        assert torch.equal(network.seen[1][:, :, 1:, 1:], images[:, :, :-1, :-1])
        assert torch.equal(network.seen[2][:, :, :-1, :-1], images[:, :, 1:, 1:])
    seen = [Remember()(view) for view in network.seen]
    assert torch.allclose(logits, torch.stack(seen).mean(0))
