"""The last layer of a network whose output still has places, found by running it. N images, C channels, H by W pixels, K classes.

An output has places if it is a map (N, C, h, w) or (N, h, w, C), or tokens (N, T, C) of a grid of patches.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError
from darkroom.models.builtin.side_by_side import SideBySide

# Places a side, where the image has them: the last maps of networks for larger images are 2 by 2 or smaller.
LEAST_SIDE = 4
# Tokens beside those of the patches: class, distillation, registers.
MOST_EXTRA_TOKENS = 8
# Dimension of the channels in (N, T, C).
TOKENS = 2

Replace = Callable[[Tensor], Tensor]


class Layer(NamedTuple):
    """An output of a module that has places.

    Attributes
    ----------
    name
        Of the module.
    call
        Which of its calls, from 0: a network may use one ReLU in many places.
    grid
        Rows h and columns w.
    channels
        Dimension of the channels in its output: 1, 3, or 2 for tokens.
    mixed_later
        Whether tokens are mixed after it, so that the logits are no sum over its places, not even nearly.
    """

    name: str
    call: int
    grid: tuple[int, int]
    channels: int
    mixed_later: bool = False

    def places(self, values: Tensor) -> Tensor:
        """Return values of the shape of its output, summed over channels, (N, h, w); tokens of no patch are left out."""
        summed = values.sum(dim=self.channels)
        num = self.grid[0] * self.grid[1]
        return summed if summed.ndim == 3 else summed[:, summed.shape[1] - num :].reshape(-1, *self.grid)

    def mean_place(self, output: Tensor) -> Tensor:
        """Return an output (N, …) with the mean of an image's places at each of them; tokens of no patch stay as they are."""
        if output.ndim == 4:
            return output.mean(dim=[dim for dim in (1, 2, 3) if dim != self.channels], keepdim=True).expand_as(output)
        extra = output.shape[1] - self.grid[0] * self.grid[1]
        places = output[:, extra:]
        return torch.cat([output[:, :extra], places.mean(dim=1, keepdim=True).expand_as(places)], dim=1)


@contextmanager
def replaced(network: nn.Module, name: str, call: int, replace: Replace) -> Iterator[None]:
    """Within the block, replace the output of the n-th call of a module."""
    count = 0

    def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor | None:
        nonlocal count
        count += 1
        return replace(output) if count == call + 1 else None

    handle = network.get_submodule(name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def fixed(network: nn.Module) -> Iterator[None]:
    """Within the block, no parameter needs a gradient, so that only what follows a layer is computed backwards."""
    needing = [value for value in network.parameters() if value.requires_grad]
    for value in needing:
        value.requires_grad_(False)
    try:
        yield
    finally:
        for value in needing:
            value.requires_grad_(True)


def find_layers(network: nn.Module, images: Tensor) -> list[Layer]:
    """Return the layer in which heat is computed, as `find_layer` does; of networks side by side one of each.

    Raises
    ------
    InputError
        If there is none.
    """
    if not isinstance(network, SideBySide):
        return [find_layer(network, images)]
    found = [find_layer(each, images) for each in network.networks]
    return [layer._replace(name=f"networks.{place}.{layer.name}") for place, layer in enumerate(found)]


def find_layer(network: nn.Module, images: Tensor) -> Layer:
    """Return the layer in which the heat of images is computed: all of the network's logits see the image through it alone.

    It is the last such layer with at least `LEAST_SIDE` places a side, or else the one with the most places. In a transformer,
    whose last tokens each know of the whole image, it is the first layer with the places of the last one: the patches.

    Parameters
    ----------
    network
        From normalised images to logits (N, K), in evaluation mode.
    images : (N, C, H, W) float
        Two images, or a few more.

    Raises
    ------
    InputError
        If there is none.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad(), fixed(network):
        found = _influential(network, images)
        enough = [layer for layer in found if min(layer.grid) >= LEAST_SIDE]
        fewer = sorted((layer for layer in found if layer not in enough), key=lambda layer: layer.grid[0] * layer.grid[1])
        last = _first_only_way((*reversed(enough), *reversed(fewer)), network, images)
        if last is not None and last.channels == TOKENS:
            first = _first_only_way([layer for layer in found if layer.grid == last.grid], network, images)
            return (first or last)._replace(mixed_later=True)
    if last is None:
        raise InputError(
            f"{type(network).__name__}: no layer before its logits has places, so there is no heat to draw; name another"
        )
    return last


def _first_only_way(layers: Iterable[Layer], network: nn.Module, images: Tensor) -> Layer | None:
    return next((layer for layer in layers if _is_only_way(network, images[:1], layer)), None)


def _influential(network: nn.Module, images: Tensor) -> list[Layer]:
    """Return the layers whose places differ, and have an influence on the logits."""
    layers, outputs, logits = _run(network, images)
    gradients = torch.autograd.grad(_mixed(logits), outputs, allow_unused=True) if outputs else ()
    return [
        layer
        for layer, output, gradient in zip(layers, outputs, gradients, strict=True)
        if gradient is not None and _varies(layer.places(output.detach())) and layer.places(gradient.abs()).any()
    ]


def _mixed(logits: Tensor) -> Tensor:
    """Return a number that depends on each logit (N, K) differently, so that no gradient is 0 since classes cancel."""
    return (logits * torch.linspace(1, 2, logits.shape[1], device=logits.device)).sum()


def _run(network: nn.Module, images: Tensor) -> tuple[list[Layer], list[Tensor], Tensor]:
    """Return all layers with places in the order in which they end, their outputs, and the logits."""
    layers: list[Layer] = []
    outputs: list[Tensor] = []
    calls: Counter[str] = Counter()
    maps: list[tuple[int, int]] = []

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            call = calls[name]
            calls[name] += 1
            if not isinstance(output, Tensor) or len(output) != len(images) or not output.requires_grad:
                return
            found = _grid(output, images, maps)
            if found:
                layers.append(Layer(name, call, *found))
                outputs.append(output)
            if found and output.ndim == 4:
                maps.append(found[0])

        return hook

    handles = [module.register_forward_hook(hook_of(name)) for name, module in network.named_modules() if name]
    try:
        logits: Tensor = network(images)
    finally:
        for handle in handles:
            handle.remove()
    return layers, outputs, logits


def _grid(output: Tensor, images: Tensor, maps: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], int] | None:
    """Return the places of an output (h, w), and the dimension of its channels; None if it has no places.

    Parameters
    ----------
    output
        Of a module.
    images : (N, C, H, W)
        What the network was given.
    maps
        Sizes of the maps before it: tokens are those of one of them, in most networks.
    """
    height, width = images.shape[2:]
    shape = tuple(output.shape)
    if output.ndim == 4:
        for grid, channels in ((shape[2:], 1), (shape[1:3], 3)):
            if _fits(grid[0], grid[1], height, width):
                return (grid[0], grid[1]), channels
    if output.ndim == 3:
        exact = ((rows, shape[1] // rows) for rows in range(1, shape[1] + 1) if shape[1] % rows == 0)
        for rows, columns in (*reversed(maps), *exact, *(_squarest(shape[1] - extra) for extra in range(1, MOST_EXTRA_TOKENS))):
            if 0 <= shape[1] - rows * columns <= MOST_EXTRA_TOKENS and _fits(rows, columns, height, width):
                return (rows, columns), TOKENS
    return None


def _squarest(num: int) -> tuple[int, int]:
    side = int(num**0.5) if num > 0 else 0
    return (side, side) if side * side == num else (0, 0)


def _fits(rows: int, columns: int, height: int, width: int) -> bool:
    """Return whether a grid has more than one place, and the shape of the image but for rounding."""
    smaller = rows * columns > 1 and 1 <= rows <= height and 1 <= columns <= width
    return smaller and abs(rows * width - columns * height) <= max(height, width)


def _varies(values: Tensor) -> bool:
    """Return whether values (N, h, w) differ between places."""
    return bool((values.amax(dim=(1, 2)) > values.amin(dim=(1, 2))).any())


def _is_only_way(network: nn.Module, images: Tensor, layer: Layer) -> bool:
    """Return whether logits depend on the images through this output alone."""
    with replaced(network, layer.name, layer.call, Tensor.detach):
        logits: Tensor = network(images)
    return not logits.requires_grad
