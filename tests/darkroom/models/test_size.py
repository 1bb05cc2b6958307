"""Parameters and multiply-adds are those that a person counts by hand."""

import torch
from torch import nn

from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.size import Size, measure

IMAGE = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
SEEN = Preprocessing(image_size=8, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


def test_a_convolution_and_a_linear_layer() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 10))
    layers[0].weight.requires_grad = False
    network = Normalized(layers, SEEN)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    size = measure(network, IMAGE)
    assert size.parameters == 3 * 4 * 9 + 2 * 4 + 256 * 10 + 10
    assert size.parameters - size.trained == 3 * 4 * 9
    assert size.multiply_adds == 8 * 8 * 3 * 4 * 9 + 256 * 10
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_attention_is_counted() -> None:
    class Attention(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = images.flatten(2).transpose(1, 2)[:, None]  # 1 image, 1 head, 64 tokens, 3 channels
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).mean((1, 2))

    assert measure(Normalized(Attention(), SEEN), IMAGE).multiply_adds == 2 * 64 * 64 * 3


def test_the_line_that_is_told() -> None:
    size = Size(parameters=312_345, trained=12_000, multiply_adds=12_345_678)
    assert str(size) == "0.312 M parameters (0.012 M trained), 12.3 M multiply-adds per image"
    assert "4089 M multiply-adds" in str(Size(parameters=25_600_000, trained=0, multiply_adds=4_089_284_608))
