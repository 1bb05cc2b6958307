"""Images whose class is decided by a coloured patch in one of their corners, and networks trained on them in seconds."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from darkroom.base.params import HardwareParams, Network
from darkroom.inference.predictor import Predictor
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import Published

SIDE, PATCH = 32, 8
HARDWARE = HardwareParams.model_construct(accelerator="cpu", devices=1, num_workers=0)


def corners(colours: Sequence[Sequence[int]], places: Sequence[Sequence[int]], channels: int = 3, seed: int = 0) -> Tensor:
    """Return images (N, C, 32, 32) of noise with patches of colours, in corners 0 to 3: left, right, below left, below right."""
    numbers = np.random.default_rng(seed)
    images = numbers.integers(90, 166, (len(colours), channels, SIDE, SIDE), np.uint8)
    for image, colour, place in zip(images, colours, places, strict=True):
        for each, corner in zip(colour, place, strict=True):
            top, left = ((SIDE - PATCH - 1) * bit + 1 * (1 - bit) for bit in divmod(corner, 2))
            patch = image[:, top : top + PATCH, left : left + PATCH]
            patch[:] = 60
            patch[each] = 230
    return torch.from_numpy(images)


def share(heat: NDArray[Any], places: Sequence[int]) -> NDArray[np.float64]:
    """Return which part of the heat of each image lies in the quarter of a corner."""
    half = SIDE // 2
    found = []
    for each, corner in zip(heat, places, strict=True):
        row, column = divmod(corner, 2)
        quarter = each[row * half : (row + 1) * half, column * half : (column + 1) * half]
        found.append(quarter.sum() / max(each.sum(), 1e-9))
    return np.array(found)


def build(name: str, provider: Any = "builtin", channels: int = 3, num_classes: int = 3, **kwargs: Any) -> Normalized:
    """Return a network that is not trained, in evaluation mode."""
    torch.manual_seed(0)
    network = build_network(
        Network(provider=provider, name=name, pretrained=False, kwargs=kwargs), num_classes=num_classes, channels=channels
    )
    return normalized(network, channels)


def normalized(network: nn.Module, channels: int = 3) -> Normalized:
    """Return a network that normalises its images."""
    seen = Preprocessing(image_size=SIDE, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    return Normalized(network, seen).eval()


def train(network: Normalized, labels_of: Callable[[Tensor], Tensor], steps: int, lr: float, channels: int = 3) -> None:
    """Train on patches of random colours in random corners; `labels_of` makes the labels of the colours."""
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(network.parameters(), lr)
    network.train()
    for step in range(steps):
        colours, places = torch.randint(0, 3, (32,)), torch.randint(0, 4, (32,))
        images = corners(colours[:, None].tolist(), places[:, None].tolist(), channels, seed=step)
        logits, labels = network(images), labels_of(colours)
        loss = (
            nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
            if logits.shape[1] == 1
            else nn.functional.cross_entropy(logits, labels)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()


def predictor_of(network: Normalized, classes: Sequence[str], preprocessing: Preprocessing, **about: Any) -> Predictor:
    """Return a network as a published model."""
    values = {
        "preprocessing": preprocessing,
        "task": "multiclass",
        "classes": list(classes),
        "positive": None,
        "weights_sha256": "0",
    }
    card: Any = type("Card", (), values | about)
    return Predictor(Published(network, card), HARDWARE)


@pytest.fixture(scope="session")
def small_cnn() -> Normalized:
    """A convolutional network that finds the colour."""
    network = build("small_cnn", width=8)
    train(network, lambda colours: colours, 60, 3e-3)
    return network


def digits_predictor(data: Any, network: nn.Module | None = None, **about: Any) -> Predictor:
    """Return a network that was not trained, as a published model for the digits."""
    torch.manual_seed(0)
    network = network or build("small_cnn", channels=1, num_classes=10, width=4).network
    seen = Preprocessing(image_size=8, channels=1, mean=(0.3,), std=(0.3,))
    return predictor_of(Normalized(network, seen).eval(), data.pack.classes, seen, **about)
