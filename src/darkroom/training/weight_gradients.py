"""Gradients of the weights of convolutions over small maps, in bfloat16 on a CPU with AMX: one product of matrices each.

oneDNN's own kernel for them takes 1.4 to 12 times as long where an image has at most 7 by 7 outputs
(docs/benchmarks/training.md). N images, C channels, O outputs, H, W sides of the output map, P taps of a kernel.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from darkroom.base.params import TrainParams

# More outputs than this, or fewer channels, are faster in oneDNN's kernel.
MOST_PLACES, FEWEST_CHANNELS = 49, 64
# Of the patches that are laid out for the product; a larger batch is left to oneDNN.
MOST_BYTES = 1 << 29


@contextmanager
def fast_weight_gradients(device: torch.device, train: TrainParams) -> Iterator[None]:
    """Compute convolutions over small maps so within the block, where that is faster; elsewhere nothing changes.

    Parameters
    ----------
    device
        Of the network.
    train
        With another precision than `bf16-mixed` (or `auto`, which tries it) nothing is looked at, since that costs a little with
        every call of torch; with `train.compile` the network is left to torch's compiler.
    """
    may_be_half = train.precision in ("bf16-mixed", "auto") and train.compile is None
    if not may_be_half or device.type != "cpu" or not torch.cpu.get_capabilities().get("amx_bf16", False):
        yield
        return
    with _FastWeightGradients():
        yield


class _FastWeightGradients(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is functional.conv2d and not kwargs and len(args) == 7 and _is_small(*args[:2], *args[3:]):
            images, weight, bias, stride, padding, _, _ = args
            outputs = _Convolution.apply(images, weight, stride, padding)
            return outputs if bias is None else outputs + bias.to(outputs.dtype)[:, None, None]
        return func(*args, **(kwargs or {}))


def _is_small(images: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any, groups: int) -> bool:
    if not (weight.requires_grad and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
        return False
    if images.ndim != 4 or groups != 1 or dilation != (1, 1) or not (isinstance(stride, tuple) and isinstance(padding, tuple)):
        return False
    if min(weight.shape[:2]) < FEWEST_CHANNELS or torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return False
    sides = [
        (size + 2 * pad - kernel) // step + 1
        for size, pad, kernel, step in zip(images.shape[2:], padding, weight.shape[2:], stride, strict=True)
    ]
    places = int(sides[0] * sides[1])
    return 0 < places <= MOST_PLACES and 2 * len(images) * places * weight[0].numel() <= MOST_BYTES


class _Convolution(torch.autograd.Function):
    """`functional.conv2d` without bias, groups and dilation, in bfloat16."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.bfloat16)  # type: ignore[untyped-decorator]
    def forward(context: Any, images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        context.save_for_backward(images, weight)
        context.stride, context.padding = stride, padding
        return functional.conv2d(images, weight, None, stride, padding)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        (gradient,), (images, weight) = gradients, context.saved_tensors
        of_images = None
        if context.needs_input_grad[0]:
            settings = (list(context.stride), list(context.padding), [1, 1], False, [0, 0], 1)
            of_images = torch.ops.aten.convolution_backward(gradient, images, weight, None, *settings, [True, False, False])[0]
        return of_images, _of_weight(images, gradient, weight.shape, context.stride, context.padding), None, None


def _of_weight(images: Tensor, gradient: Tensor, shape: torch.Size, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """Return the gradient (O, C, kernel) of the weights: that of the outputs (O, N H W) times the patches (N H W, P C)."""
    outputs, channels, height, width = shape
    padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
    of_image, of_row, of_column, _ = padded.stride()
    size = (len(images), *gradient.shape[2:], height, width, channels)
    patches = padded.as_strided(size, (of_image, stride[0] * of_row, stride[1] * of_column, of_row, of_column, 1))
    by_place = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
    product = by_place.t() @ patches.reshape(len(by_place), height * width * channels)
    return product.view(outputs, height, width, channels).permute(0, 3, 1, 2)
