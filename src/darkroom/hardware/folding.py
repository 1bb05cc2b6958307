"""Networks that are not trained run faster: batch normalisation folded into the convolution before it, batches in pieces.

N images, C channels, H by W pixels, K classes.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

# Functions that read a tensor's metadata and not its values.
METADATA = (
    Tensor.dim,
    Tensor.size,
    Tensor.ndim.__get__,  # type: ignore[attr-defined]
    Tensor.shape.__get__,  # type: ignore[attr-defined]
    Tensor.dtype.__get__,  # type: ignore[attr-defined]
    Tensor.device.__get__,
)
# Allowed difference as a fraction of the largest logit; rounding makes a thousandth of it.
TOLERANCE = 1e-4
# Number of images that a network is tested with.
FEW = 4
# On a CPU a batch is computed in pieces of this many pixels, so that activations need little memory. Of fewer images some
# convolutions take half as long again for each (docs/benchmarks.md).
PIECE_PIXELS = 16 * 224**2


class _Calls(TorchFunctionMode):
    """Records, while a network runs, which convolutions' outputs are normalised, and by which module.

    Only calls count, so that nothing is guessed from the network's code. Parameters are identified by `id`, and an output carries
    that of its convolution's weight.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[int, int]] = []
        """A convolution's weight, and the running mean of the normalisation of its output."""
        self.calls: Counter[int] = Counter()
        """Number of calls with each of these."""
        self.uses: Counter[int] = Counter()
        """Number of uses of each weight's output."""

    def __torch_function__(self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        if function in METADATA:
            return output
        self.uses.update(tensor.made_with for tensor in _tensors([args, kwargs]) if hasattr(tensor, "made_with"))
        if function is functional.conv2d and len(args) > 1:
            self.calls[id(args[1])] += 1
            output.made_with = id(args[1])
        elif function is functional.batch_norm and len(args) > 1:
            self.calls[id(args[1])] += 1
            if hasattr(args[0], "made_with"):
                self.pairs.append((args[0].made_with, id(args[1])))
        return output


def fold_batch_norm(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a copy with batch normalisations folded into the convolutions before them; logits differ only by rounding.

    Calls of the network show which convolutions' outputs are used by nothing else. If there is nothing to fold, or logits differ
    by more than rounding, the network itself is returned.

    Parameters
    ----------
    network
        From images to logits (N, K), in evaluation mode.
    images : (N, C, H, W)
        A few images to run it on.
    """
    with torch.no_grad():
        calls = _Calls()
        with calls:
            expected = network(images)
        pairs = list(_foldable(network, calls))
        if not pairs:
            return network
        folded = copy.deepcopy(network)
        for convolution, norm in pairs:
            first, second = folded.get_submodule(convolution), folded.get_submodule(norm)
            assert isinstance(first, nn.Conv2d)
            assert isinstance(second, nn.BatchNorm2d)
            folded.set_submodule(convolution, fuse_conv_bn_eval(first, second))
            folded.set_submodule(norm, _without(second))
        return folded if close(folded(images), expected) else network


def piece_size(images: Tensor, device: torch.device) -> int:
    """Return how many of a batch of images (N, C, H, W) are computed at once on a device."""
    height, width = images.shape[2:]
    return min(len(images), max(1, PIECE_PIXELS // (height * width))) if device.type == "cpu" else len(images)


def close(logits: Tensor, expected: Tensor, tolerance: float = TOLERANCE) -> bool:
    """Return whether logits differ by at most a fraction of the largest of them, by default that of rounding."""
    return bool((logits - expected).abs().max() <= tolerance * expected.abs().max())


def _foldable(network: nn.Module, calls: _Calls) -> Iterator[tuple[str, str]]:
    """Yield the names of each convolution and normalisation that are called once, the first only for the second."""
    modules = dict(network.named_modules())
    convolutions = {id(module.weight): name for name, module in modules.items() if isinstance(module, nn.Conv2d)}
    norms = {id(module.running_mean): name for name, module in modules.items() if _is_norm(module) and not module.training}
    for weight, mean in calls.pairs:
        once = calls.calls[weight] == calls.uses[weight] == calls.calls[mean] == 1
        if once and weight in convolutions and mean in norms:
            yield convolutions[weight], norms[mean]


def _is_norm(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d or _has_activation(module)


def _has_activation(module: nn.Module) -> bool:
    """Return whether it is timm's normalisation with an activation; checked by name, since importing timm takes seconds."""
    return type(module).__name__ == "BatchNormAct2d" and type(module).__module__.startswith("timm.")


def _without(norm: nn.Module) -> nn.Module:
    """Return what remains of a normalisation after folding: its activation, or nothing."""
    return nn.Sequential(norm.drop, norm.act) if _has_activation(norm) else nn.Identity()  # type: ignore[arg-type]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
