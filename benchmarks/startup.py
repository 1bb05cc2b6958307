"""Measure how long stages and short commands take, and what they import: python benchmarks/startup.py [--rounds 5].

What they may import at most stands in tests/test_startup.py, whose limits may only fall; here are the seconds. Every stage of the
default pipeline is run again in a clone where all have run, so that it does little else: train only publishes its finished model.
Seconds of a core are medians. The time of imports is measured in a separate run with `-X importtime`, which slows them by about a
third.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from default_pipeline import clone, run
from PIL import Image
from sklearn.datasets import load_digits

# With a photo of the digits, which is written beside the clone.
SHORT = (
    "./darkroom --help",
    "./darkroom predict --help",
    "./darkroom preset cifar10",
    "./darkroom commit HEAD",
    "./darkroom show",
    "./darkroom predict ../digit.png",
    "dvc repro",
)
STAGES = ("download", "split", "train", "evaluate", "predict")
# Packages with a smaller share of a stage's import time are not listed.
LEAST_SHARE = 0.04
SELF = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)$", re.MULTILINE)


def cpu_seconds(command: list[str], folder: Path) -> float:
    """Return the processor seconds of a command."""
    before = os.times()
    run(command, folder)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def imported(stage: str, folder: Path) -> Counter[str]:
    """Return the import time of each package in a stage in seconds, without the packages that it imports."""
    command = [sys.executable, "-X", "importtime", f"src/{stage}.py"]
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stderr
    seconds = Counter[str]()
    for microseconds, name in SELF.findall(output):
        seconds[name.partition(".")[0]] += int(microseconds) / 1e6
    return seconds


def digit(path: Path) -> None:
    """Write one of the digits as a photo."""
    pixels = load_digits().images[0] * 15
    Image.fromarray(pixels.astype("uint8")).save(path)


def short_commands(folder: Path, rounds: int) -> None:
    """Print the seconds of short commands in a clone where all stages have run."""
    digit(folder.parent / "digit.png")
    print("\n| command | seconds of a core: median (all) |\n|---|---|")
    for command in SHORT:
        words = command.replace("./darkroom", f"{sys.executable} darkroom").split()
        run(words, folder)
        seconds = [cpu_seconds(words, folder) for _ in range(rounds)]
        every = ", ".join(f"{value:.2f}" for value in seconds)
        print(f"| `{command}` | {statistics.median(seconds):.2f} ({every}) |", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        folder = clone(Path(temporary, "darkroom"))
        run(["dvc", "repro"], folder)
        print("| stage | seconds of a core: median (all) | seconds in imports | of these |\n|---|---|---|---|")
        for stage in STAGES:
            command = [sys.executable, f"src/{stage}.py"]
            run(command, folder)  # evaluate has removed the state that train resumes from
            seconds = [cpu_seconds(command, folder) for _ in range(rounds)]
            packages = imported(stage, folder)
            whole = sum(packages.values())
            named = [(name, part / whole) for name, part in packages.most_common() if part / whole >= LEAST_SHARE]
            shares = ", ".join(f"{name} {share:.0%}" for name, share in named)
            every = ", ".join(f"{value:.1f}" for value in seconds)
            print(f"| {stage} | {statistics.median(seconds):.1f} ({every}) | {whole:.1f} | {shares} |", flush=True)
        short_commands(folder, rounds)


if __name__ == "__main__":
    main()
