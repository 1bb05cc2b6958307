"""The layer whose places make the heat, of networks of every provider; and a network that has none."""

import pytest
import torch
from explanation_fixtures import build
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.explanation.spatial_layer import Layer, find_layer


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (build("small_cnn", width=4), Layer("features", 0, (8, 8), 1)),
        (build("small_resnet", depth=1), Layer("blocks", 0, (8, 8), 1)),
        (build("small_vit", width=12, depth=1), Layer("embed.project", 0, (8, 8), 1, mixed_later=True)),
        # The last map, 3 by 3, is too coarse.
        (build("whitened_cnn", widths=[4, 4, 4]), Layer("blocks.2.first", 0, (7, 7), 1)),
        (build("resnet18", "torchvision", channels=4), Layer("layer2", 0, (4, 4), 1)),
        (build("test_resnet", "timm"), Layer("layer2", 0, (4, 4), 1)),
        (build("test_vit", "timm", img_size=32), Layer("patch_embed.proj", 0, (2, 2), 1, mixed_later=True)),
    ],
    ids=lambda value: type(value.network).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_layer_is_found(network: nn.Module, expected: Layer) -> None:
    channels = network.mean.shape[1]
    assert find_layer(network.network, torch.randn(2, channels, 32, 32)) == expected


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("provider", "name", "size", "kwargs", "grid"),
    [
        ("timm", "swin_tiny_patch4_window7_224", 224, {"depths": [1, 1, 1, 1]}, (7, 7)),
        ("timm", "convnext_atto", 64, {}, (4, 4)),
        ("timm", "vit_small_patch14_reg4_dinov2", 112, {"img_size": 112, "depth": 2}, (8, 8)),
        ("torchvision", "mobilenet_v3_small", 64, {}, (4, 4)),
        ("torchvision", "squeezenet1_1", 64, {}, (7, 7)),
        ("torchvision", "densenet121", 64, {}, (4, 4)),
        ("torchvision", "inception_v3", 128, {}, (6, 6)),
    ],
)
def test_layers_of_other_networks(provider: str, name: str, size: int, kwargs: dict[str, object], grid: tuple[int, int]) -> None:
    network = build(name, provider, **kwargs).network
    assert find_layer(network, torch.randn(2, 3, size, size)).grid == grid


@pytest.mark.slow
@pytest.mark.thorough
def test_a_network_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    from darkroom.models.huggingface.network import HuggingFaceClassifier

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(image_size=32, patch_size=8, num_labels=3, **small)
    network = HuggingFaceClassifier(transformers.ViTForImageClassification(config), {}).eval()
    found = find_layer(network, torch.randn(2, 3, 32, 32))
    assert found == Layer("network.vit.embeddings.patch_embeddings.projection", 0, (4, 4), 1, mixed_later=True)


def test_rectangles_have_rows_and_columns() -> None:
    assert find_layer(build("small_cnn", width=4).network, torch.randn(2, 3, 16, 64)).grid == (4, 16)
    assert find_layer(build("small_vit", width=12, depth=1).network, torch.randn(2, 3, 16, 64)).grid == (4, 16)


class Beside(nn.Module):
    """A network that sees the image in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.head((self.first(images) + self.second(images)).mean(dim=(2, 3)))


@pytest.mark.parametrize("network", [nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3)), Beside()])
def test_a_network_without_such_a_layer_is_one_line(network: nn.Module) -> None:
    name = type(network).__name__
    with pytest.raises(InputError, match=f"^{name}: no layer before its logits has places, so there is no heat to draw; name"):
        find_layer(network.eval(), torch.randn(2, 3, 32, 32))
