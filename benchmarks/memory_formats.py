"""Measure a step of the network of the CIFAR-10 presets by precision, memory format, width, batch and size of the images.

    python benchmarks/memory_formats.py --rounds 4

Forward and backward in one thread; the least milliseconds that it had a core, for one image, over the rounds, in which all take
turns. Beside other programs they grow by less than half, where the time on the wall grows many times.
"""

import argparse
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.hardware.memory import keep_freed_memory
from darkroom.models.builtin.whitened_cnn import WhitenedCNN

NARROW, WIDE = (32, 128, 128), (64, 256, 256)


class Case(NamedTuple):
    """What is computed."""

    widths: tuple[int, ...]
    half: bool = True
    channels_last: bool = True
    size: int = 32
    batch: int = 512

    def __str__(self) -> str:
        words = ("bfloat16" if self.half else "float32", "channels_last" if self.channels_last else "contiguous")
        return f"{', '.join(map(str, self.widths))} | {words[0]} | {words[1]} | {self.size} | {self.batch}"


CASES = (
    *(Case(NARROW, half, last) for half in (False, True) for last in (True, False)),
    *(Case(WIDE, half, last, batch=256) for half in (False, True) for last in (True, False)),
    *(Case((32, *wide)) for wide in ((128, 192), (192, 192))),
    *(Case((64, *wide)) for wide in ((128, 128), (192, 192), (256, 256))),
    *(Case(WIDE, size=24), Case(NARROW, size=24), Case(NARROW, batch=256), Case(WIDE, batch=1024)),
)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    seconds: dict[Case, list[float]] = {case: [] for case in CASES}
    for _ in range(given.rounds):
        for case in CASES:
            network, images, labels = make(case)
            step(network, images[:8], labels[:8], half=case.half)  # allocates, and chooses kernels
            start = time.thread_time()
            step(network, images, labels, half=case.half)
            seconds[case].append((time.thread_time() - start) / case.batch)
    load = f"load {os.getloadavg()[0]:.0f}"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}, {load}\n")
    print("| widths | precision | format | size | batch | ms of a core for an image |\n|---|---|---|---|---|---|")
    for case, each in seconds.items():
        print(f"| {case} | {1000 * min(each):.2f} |")


def make(case: Case) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network, images (N, C, H, W) and labels (N,)."""
    torch.manual_seed(0)
    network: nn.Module = WhitenedCNN(10, 3, widths=case.widths)
    images, labels = torch.randn(case.batch, 3, case.size, case.size), torch.randint(10, (case.batch,))
    if case.channels_last:
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    return network, images, labels


def step(network: nn.Module, images: Tensor, labels: Tensor, *, half: bool) -> None:
    """Compute the gradients of a batch."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = functional.cross_entropy(network(images).float(), labels, label_smoothing=0.2)
    loss.backward()
    network.zero_grad()


if __name__ == "__main__":
    main()
