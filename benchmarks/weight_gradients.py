"""Measure what gradients by one product of matrices give a training step in bfloat16: python benchmarks/weight_gradients.py.

Forward and backward with and without, in turns, in one thread: the least milliseconds of a core for an image. Needs AMX.
"""

import argparse
import contextlib
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.params import TrainParams
from darkroom.hardware.memory import keep_freed_memory
from darkroom.models.builtin.whitened_cnn import WhitenedCNN
from darkroom.training.weight_gradients import fast_weight_gradients

CPU = torch.device("cpu")
TRAIN = TrainParams.model_construct(precision="bf16-mixed", compile=None)


def resnet18_at_32() -> nn.Module:
    """Return a ResNet-18 for images of 32 pixels, as the preset cifar10 has it."""
    network = timm.create_model("resnet18", num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return network


# Networks by name, with the batch and the size of its images.
CASES = {
    "cifar10_fast": (lambda: WhitenedCNN(10, 3, widths=(64, 256, 256)), 512, 32),
    "cifar10_small": (lambda: WhitenedCNN(10, 3, widths=(64, 192, 192)), 512, 32),
    "ResNet-18, 32 px": (resnet18_at_32, 128, 32),
    "ResNet-18": (lambda: timm.create_model("resnet18", num_classes=10), 32, 224),
    "ResNet-50": (lambda: timm.create_model("resnet50", num_classes=10), 16, 224),
    "EfficientNet-Lite0": (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=10), 16, 224),
}


def step(network: nn.Module, images: Tensor, labels: Tensor, *, faster: bool) -> float:
    """Return the seconds of a core that the gradients of a batch take."""
    start = time.thread_time()
    with fast_weight_gradients(CPU, TRAIN) if faster else contextlib.nullcontext():
        with torch.autocast("cpu", torch.bfloat16):
            loss = functional.cross_entropy(network(images).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
    network.zero_grad()
    return time.thread_time() - start


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    load = f"load {os.getloadavg()[0]:.0f}"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}, {load}\n")
    print("| network | px | batch | ms of a core an image | by products | ratio |\n|---|---|---|---|---|---|")
    for name, (make, batch, size) in CASES.items():
        network = make().to(memory_format=torch.channels_last)  # type: ignore[no-untyped-call]
        images = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(10, (batch,))
        seconds = [[step(network, images, labels, faster=faster) for faster in (False, True)] for _ in range(given.rounds + 1)]
        usual, faster = (1000 * min(each) / batch for each in zip(*seconds[1:], strict=True))  # the first chooses kernels
        print(f"| {name} | {size} | {batch} | {usual:.2f} | {faster:.2f} | {usual / faster:.2f} |", flush=True)


if __name__ == "__main__":
    main()
