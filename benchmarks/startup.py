"""Measure what each stage imports, and how long that takes: python benchmarks/startup.py [--rounds 5].

Every stage of the default pipeline is run again in a clone where all have run, so that it does little else: train only publishes
its finished model. Seconds of a core are medians. The time of imports is measured in a separate run with `-X importtime`, which
slows them by about a third.
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


if __name__ == "__main__":
    main()
