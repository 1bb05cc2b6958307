"""Convolutions over small maps: the same outputs and gradients, and all others are left alone."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from darkroom.training import weight_gradients as module
from darkroom.training.weight_gradients import fast_weight_gradients

CPU = torch.device("cpu")
HALF: Any = SimpleNamespace(precision="bf16-mixed", compile=None)


@pytest.fixture
def has_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product is computed by any processor."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Shapes of the weights whose gradient was a product."""
    shapes: list[torch.Size] = []
    product = module._of_weight

    def counting(images: Tensor, gradient: Tensor, shape: torch.Size, *settings: Any) -> Tensor:
        shapes.append(shape)
        return product(images, gradient, shape, *settings)

    monkeypatch.setattr(module, "_of_weight", counting)
    return shapes


def of(layer: nn.Module, images: Tensor, device: torch.device | None, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    """Return outputs and gradients of images and weights; `device`: within the block."""
    images = images.clone(memory_format=torch.channels_last).requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        if device is None:
            outputs = layer(images)
        else:
            with fast_weight_gradients(device, HALF):
                outputs = layer(images)
    (outputs.float() * torch.linspace(-1, 1, outputs.numel()).view(outputs.shape)).sum().backward()
    return [outputs, images.grad, *(value.grad for value in layer.parameters() if value.grad is not None)]


def convolution(*, kernel: Any = 3, stride: Any = 1, padding: Any = 1, **more: Any) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        torch.manual_seed(0)
        layer = nn.Conv2d(64, 96, kernel, stride=stride, padding=padding, **more)
        return layer.to(memory_format=torch.channels_last)

    return made


SMALL = {
    "3x3": (convolution(), (7, 7)),
    "without bias": (convolution(bias=False), (3, 5)),
    "1x1": (convolution(kernel=1, padding=0), (4, 4)),
    "stride 2": (convolution(stride=2), (8, 8)),
    "uneven": (convolution(kernel=(3, 5), stride=(2, 1), padding=(0, 2)), (9, 6)),
    "one place": (convolution(kernel=4, padding=0), (4, 4)),
}
OTHERS = {
    "larger map": (convolution(), (8, 8)),
    "groups": (convolution(groups=32), (4, 4)),
    "dilation": (convolution(dilation=2, padding=2), (4, 4)),
    "padding by name": (convolution(padding="same"), (4, 4)),
}


@pytest.mark.usefixtures("has_amx")
@pytest.mark.parametrize(("make", "size"), SMALL.values(), ids=list(SMALL))
def test_outputs_and_gradients_are_those_of_torch(
    make: Callable[[], nn.Module], size: tuple[int, int], counted: list[torch.Size]
) -> None:
    images = torch.randn(3, 64, *size, generator=torch.Generator().manual_seed(1))
    usual = of(make(), images, None)
    exact = of(make(), images, None, torch.float32)
    found = of(make(), images, CPU)
    assert len(counted) == 1
    assert len(usual) == len(found)
    for one, other, right in zip(usual, found, exact, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        scale = right.abs().max()
        # As near to the gradient in float32 as torch's own in bfloat16, up to its rounding.
        assert (other - right).abs().max() <= 1.5 * (one - right).abs().max() + 2**-8 * scale


@pytest.mark.usefixtures("has_amx")
@pytest.mark.parametrize(("make", "size"), OTHERS.values(), ids=list(OTHERS))
def test_others_are_left_alone(make: Callable[[], nn.Module], size: tuple[int, int], counted: list[torch.Size]) -> None:
    images = torch.randn(2, 64, *size)
    for one, other in zip(of(make(), images, None), of(make(), images, CPU), strict=True):
        assert torch.equal(one, other)
    assert not counted


@pytest.mark.usefixtures("has_amx")
def test_float32_frozen_weights_and_measuring_are_left_alone(counted: list[torch.Size]) -> None:
    images = torch.randn(2, 64, 4, 4)
    of(convolution()(), images, CPU, torch.float32)
    frozen = convolution()().requires_grad_(False)
    of(frozen, images, CPU)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), fast_weight_gradients(CPU, HALF):
        convolution()()(images)
    assert not counted


@pytest.mark.usefixtures("has_amx")
@pytest.mark.parametrize("changes", [{"compile": {}}, {"precision": "32-true"}], ids=str)
def test_a_compiled_network_and_other_precisions_are_left_alone(changes: dict[str, Any], counted: list[torch.Size]) -> None:
    train: Any = SimpleNamespace(**(vars(HALF) | changes))
    with torch.autocast("cpu", torch.bfloat16), fast_weight_gradients(CPU, train):
        convolution()()(torch.randn(2, 64, 4, 4)).float().sum().backward()
    assert not counted


def test_without_amx_nothing_changes(monkeypatch: pytest.MonkeyPatch, counted: list[torch.Size]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    of(convolution()(), torch.randn(2, 64, 4, 4), CPU)
    assert not counted


@pytest.mark.usefixtures("has_amx")
def test_a_batch_whose_patches_take_too_much_memory_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, counted: list[torch.Size]
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 2 * 2 * 16 * 9 * 64 - 1)
    of(convolution()(), torch.randn(2, 64, 4, 4), CPU)
    assert not counted
