"""Measure how near a training step is to its matrix products: python benchmarks/matrix_products.py [--half] [--rounds 4].

A convolution is a product of the patches of its images and its weights, and its gradients are two more of the same size. These
products alone, of matrices that lie ready, are what a step takes at least, as long as no other algorithm needs fewer operations.
The rest of a step is all else: laying out patches, normalisation, activations, the loss, the optimizer. Forward, backward and
optimizer, in one thread; the least seconds that it had a core, over the rounds, in which step and products take turns. A
convolution with groups is a product for each group, all in one call; the first layer has no gradient for its images.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from small_images import resnet20
from torch import Tensor, nn
from torch.nn import functional
from weight_gradients import CASES

from darkroom.hardware.memory import keep_freed_memory
from darkroom.models.builtin.small_cnn import SmallCNN

SQUARE = 2048
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int, int]] = {
    "the default network": (lambda: SmallCNN(10, 1), 64, 8, 1),
    "ResNet-20": (lambda: resnet20(10), 128, 32, 3),
    **{name: (make, batch, size, 3) for name, (make, batch, size) in CASES.items()},
}


class Product(NamedTuple):
    """Matrices (groups, rows, inner) and (groups, inner, columns) that a layer multiplies."""

    groups: int
    rows: int
    inner: int
    columns: int

    def all_of(self, *, first: bool) -> list["Product"]:
        """Return the products of a step: forward, for the weights, and for the inputs unless the layer is the first."""
        groups, rows, inner, columns = self
        return [self, Product(groups, inner, rows, columns), *([] if first else [Product(groups, rows, columns, inner)])]


def products(network: nn.Module, images: Tensor) -> list[Product]:
    """Return the products of a training step of a network, found by one forward pass."""
    found: list[Product] = []

    def note(layer: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        if isinstance(layer, nn.Linear):
            one = Product(1, output.numel() // layer.out_features, layer.in_features, layer.out_features)
        else:
            groups, rows = layer.groups, output.numel() // layer.out_channels
            one = Product(groups, rows, layer.weight[0].numel(), layer.out_channels // groups)
        found.extend(one.all_of(first=inputs[0] is images))

    hooks = [each.register_forward_hook(note) for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return found


def operations(found: list[Product]) -> float:
    """Return the multiplications and additions of products, in billions."""
    return 2e-9 * sum(each.groups * each.rows * each.inner * each.columns for each in found)


def seconds_of_products(found: list[Product], dtype: torch.dtype) -> float:
    """Return the seconds of a core that the products take, each with matrices of its own."""
    total = 0.0
    for groups, rows, inner, columns in found:
        first, second = torch.randn(groups, rows, inner, dtype=dtype), torch.randn(groups, inner, columns, dtype=dtype)
        out = torch.empty(groups, rows, columns, dtype=dtype)
        start = time.thread_time()
        torch.bmm(first, second, out=out)
        total += time.thread_time() - start
    return total


def seconds_of_step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, *, half: bool) -> float:
    """Return the seconds of a core that a training step takes."""
    start = time.thread_time()
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = functional.cross_entropy(network(images).float(), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return time.thread_time() - start


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--half", action="store_true", help="in bfloat16 in place of float32")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    dtype = torch.bfloat16 if given.half else torch.float32
    square = [Product(1, SQUARE, SQUARE, SQUARE)]
    peak = operations(square) / min(seconds_of_products(square, dtype) for _ in range(given.rounds + 1))
    load = f"load {os.getloadavg()[0]:.0f}"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}, {dtype}, {load};")
    print(f"a product of {SQUARE} by {SQUARE} numbers: {peak:.0f} GFLOP/s\n")
    print("| network | px | batch | step, ms of a core an image | its products | GFLOP/s of these | part of the step |")
    print("|---|---|---|---|---|---|---|")
    for name, (make, batch, size, channels) in NETWORKS.items():
        torch.manual_seed(0)
        network = make().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = torch.randn(batch, channels, size, size).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(10, (batch,))
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, fused=True)
        found = products(network, images)
        measured = [
            (seconds_of_step(network, optimizer, images, labels, half=given.half), seconds_of_products(found, dtype))
            for _ in range(given.rounds + 1)
        ][1:]  # the first chooses kernels
        step, least = (min(each) for each in zip(*measured, strict=True))
        numbers = f"{1000 * step / batch:.2f} | {1000 * least / batch:.2f} | {operations(found) / least:.0f} | {least / step:.2f}"
        print(f"| {name} | {size} | {batch} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
