"""Measure what a training step gains by keeping freed memory: python benchmarks/kept_memory.py [--rounds 5].

Trains three networks on random images, with the C library's defaults and with the train stage's settings. Every run has its own
process; the two settings alternate. The table shows processor seconds, which other work disturbs least, and the number of pages
that the kernel had to clear.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

STEPS = 4
# Batch size and side of the images.
CASES = {
    "cifar10_small": (512, 32, {"widths": [64, 192, 192]}),
    "from_scratch_small": (32, 224, {"widths": [64, 128, 256], "patch": 4, "stride": 4}),
    "small_resnet18": (64, 32, None),
}


def steps(name: str, kept: bool) -> dict[str, float]:
    """Return the processor seconds and cleared pages of a step, without the first step, and the peak memory."""
    import torch

    from darkroom.hardware.memory import keep_freed_memory
    from darkroom.models.builtin.small_resnet import small_resnet18
    from darkroom.models.builtin.whitened_cnn import WhitenedCNN

    if kept:
        keep_freed_memory()
    torch.manual_seed(0)
    num, side, kwargs = CASES[name]
    network: Any = small_resnet18(10, 3) if kwargs is None else WhitenedCNN(10, 3, **kwargs)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.001, fused=True)
    images = torch.randn(num, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (num,))
    seconds, pages = [], []
    for _ in range(STEPS):
        start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.process_time() - start)
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds[1:]), "pages": statistics.median(pages[1:]), "memory": memory}


def main() -> None:
    """Print a table, or run the steps of one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(steps(given.case, given.kept)))
        return
    print(f"{platform.processor() or platform.machine()}, C library {' '.join(platform.libc_ver())}\n")
    print("| network | CPU seconds of a step | kept | ratio | pages cleared | kept | peak memory, MiB | kept |")
    print("|---|---|---|---|---|---|---|---|")
    for name in CASES:
        runs: dict[str, list[dict[str, float]]] = {"": [], "--kept": []}
        for _ in range(given.rounds):
            for flag, results in runs.items():
                command = [sys.executable, __file__, "--case", name, *flag.split()]
                results.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        plain, kept = ({key: statistics.median(each[key] for each in results) for key in results[0]} for results in runs.values())
        ratio = statistics.median(
            with_it["seconds"] / without["seconds"] for without, with_it in zip(runs[""], runs["--kept"], strict=True)
        )
        cells = [f"{plain['seconds']:.2f}", f"{kept['seconds']:.2f}", f"{ratio:.2f}"]
        cells += [f"{each[key]:,.0f}" for key in ("pages", "memory") for each in (plain, kept)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
