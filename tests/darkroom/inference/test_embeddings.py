"""Embeddings are what the last layer is given: the layer makes the logits of them, for networks of every provider."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from darkroom.base.errors import InputError
from darkroom.base.params import HardwareParams, Network
from darkroom.inference.embeddings import Embedder
from darkroom.inference.predictor import Predictor
from darkroom.models.layers import head_name
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import Published

HARDWARE = HardwareParams.model_construct(accelerator="cpu", devices=1)


def predictor_of(network: nn.Module, channels: int = 4) -> Predictor:
    seen = Preprocessing(image_size=32, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels)
    card: Any = type("Card", (), {"preprocessing": seen, "task": "multiclass", "classes": ["a", "b", "c"], "positive": None})
    return Predictor(Published(Normalized(network, seen).eval(), card), HARDWARE)


@pytest.mark.parametrize(
    ("provider", "name", "kwargs"),
    [
        ("builtin", "small_cnn", {"width": 4}),
        ("timm", "test_vit", {"img_size": 32}),
        ("timm", "test_resnet", {}),
        ("torchvision", "resnet18", {}),
        ("torchvision", "squeezenet1_1", {}),
    ],
)
def test_the_last_layer_makes_the_logits_of_them(provider: Any, name: str, kwargs: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = build_network(Network(provider=provider, name=name, pretrained=False, kwargs=kwargs), num_classes=3, channels=4)
    predictor = predictor_of(network)
    embedder = Embedder(predictor)
    batches = [torch.randint(0, 256, (size, 4, 32, 32), dtype=torch.uint8) for size in (3, 2)]
    with torch.inference_mode():
        logits = torch.cat([predictor(batch) for batch in embedder.passing(batches)])
    found = embedder.result()
    assert found.dtype == np.float32
    assert found.shape[0] == 5
    head: Any = network.get_submodule(head_name(network))
    if isinstance(head, nn.Linear):
        assert torch.allclose(head(torch.from_numpy(found)), logits, atol=1e-4)
    assert not np.allclose(found[0], found[1])


def test_a_network_without_one_last_layer_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(2, 3)) @ self.weight

    with pytest.raises(InputError, match=r"predict\.embeddings: Odd has no single last layer .*; set it to false"):
        Embedder(predictor_of(Odd()))
