"""Parts of networks: shapes as documented, and what each of them is for."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from darkroom.base.yaml_file import read_yaml
from darkroom.models.builtin.blocks import (
    Bottleneck,
    DepthwiseSeparable,
    PatchEmbedding,
    ResidualBlock,
    SqueezeExcite,
    TransformerBlock,
    conv_norm_act,
)
from darkroom.models.builtin.small_resnet import SmallResNet
from darkroom.models.builtin.small_vit import SmallViT
from plugins.separable import SeparableNet

ROOT = Path(__file__).resolve().parents[3]


def images(size: int = 9, channels: int = 8, number: int = 2) -> Tensor:
    return torch.randn(number, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("out_channels", [8, 12])
@pytest.mark.parametrize(
    "make",
    [
        lambda *given: conv_norm_act(given[0], given[1], stride=given[2]),
        ResidualBlock,
        Bottleneck,
        lambda *given: ResidualBlock(*given, squeeze_excite=True),
        lambda *given: Bottleneck(*given, squeeze_excite=True),
        DepthwiseSeparable,
    ],
    ids=["conv_norm_act", "residual", "bottleneck", "residual with SE", "bottleneck with SE", "separable"],
)
def test_convolutional_blocks_have_the_documented_shape(make: Callable[..., nn.Module], out_channels: int, stride: int) -> None:
    assert make(8, out_channels, stride)(images()).shape == (2, out_channels, -(-9 // stride), -(-9 // stride))


@pytest.mark.parametrize("make", [ResidualBlock, Bottleneck])
def test_a_block_without_residual_is_its_shortcut(make: Callable[..., nn.Module]) -> None:
    block = make(8, 8)
    assert isinstance(block.shortcut, nn.Identity)
    norm = list(block.residual.modules())[-1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    assert torch.equal(block(images()), images().relu())


def test_a_bottleneck_and_a_separable_convolution_have_fewer_weights() -> None:
    def weights(block: nn.Module) -> int:
        return sum(value.numel() for value in block.parameters() if value.ndim == 4)

    assert weights(ResidualBlock(64, 64)) == 2 * 64 * 64 * 9
    assert weights(Bottleneck(64, 64)) == 2 * 64 * 16 + 16 * 16 * 9
    assert weights(DepthwiseSeparable(64, 64)) == 64 * 9 + 64 * 64


def test_squeeze_excite_weights_channels_by_numbers_from_0_to_1() -> None:
    given = images()
    weighted = SqueezeExcite(8)(given)
    factor = weighted / given
    assert torch.allclose(factor, factor[:, :, :1, :1].expand_as(factor), atol=1e-4)
    assert ((factor > 0) & (factor < 1)).all()


def test_patches_are_tokens_row_by_row() -> None:
    embed = PatchEmbedding(3, 16, patch=4)
    given = images(8, 3)
    tokens = embed(given)
    assert tokens.shape == (2, 4, 16)
    changed = given.clone()
    changed[:, :, :4, 4:] += 1  # first row, second column
    assert [place for place in range(4) if not torch.equal(embed(changed)[:, place], tokens[:, place])] == [1]
    equal = embed(torch.ones(1, 3, 8, 8))[0]
    assert len({tuple(token.tolist()) for token in equal}) == 4, "places differ"


def test_a_transformer_block_lets_tokens_see_each_other() -> None:
    torch.manual_seed(0)
    block = TransformerBlock(16, heads=4).eval()
    tokens = torch.randn(2, 5, 16)
    out = block(tokens)
    assert out.shape == (2, 5, 16)
    changed = tokens.clone()
    changed[:, 4, ::2] += 3  # not all features alike, which the normalisation would remove
    assert not torch.allclose(block(changed)[:, 0], out[:, 0])
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.allclose(block(tokens[:, order]), out[:, order], atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmallResNet(3, 1, widths=()), "widths must be"),
        (lambda: SmallResNet(3, 1, depth=65), "depth is 65"),
        (lambda: SmallViT(3, 1, width=10), "multiple of 4 and of heads"),
        (lambda: SmallViT(3, 1, patch=0), "patch is 0"),
        (lambda: SmallViT(3, 1, dropout=1.0), "dropout is 1.0"),
    ],
)
def test_arguments_are_bounded(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_paper_s_resnet_20_is_the_default() -> None:
    """https://arxiv.org/abs/1512.03385, table 6: 0.27 M parameters."""
    network = SmallResNet(10, 3)
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d) and each.kernel_size == (3, 3)]
    assert len(convolutions) + 1 == 20  # and the last layer
    assert round(sum(value.numel() for value in network.parameters()) / 1e6, 2) == 0.27


def test_the_example_plug_in_is_short_and_searched() -> None:
    space = read_yaml(ROOT / "conf" / "search" / "depth_and_width.yaml")["tune"]["search_space"]
    lines = [line for line in inspect.getsource(SeparableNet).splitlines() if line.strip()]
    assert len(lines) <= 20
    for depth in (space["train.model.depth"]["low"], space["train.model.depth"]["high"]):
        assert SeparableNet(10, 1, depth=depth)(images(8, 1)).shape == (2, 10)
