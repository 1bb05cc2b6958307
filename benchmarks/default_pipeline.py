"""Measure the default pipeline in fresh clones: python benchmarks/default_pipeline.py [--seeds 5]."""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers import ENVIRONMENT, ROOT


def run(command: list[str], folder: Path) -> tuple[float, str]:
    """Run a command and return its seconds and output."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start, done.stdout


def clone(folder: Path) -> Path:
    """Clone the last commit."""
    run(["git", "clone", "--quiet", str(ROOT), str(folder)], ROOT)
    return folder


def test_accuracy(folder: Path) -> float:
    """Return what evaluate measured."""
    metrics = json.loads((folder / "metrics" / "evaluate.json").read_text())
    return float(metrics["test"]["accuracy"])


def output_hashes(folder: Path) -> list[str]:
    """Return the hashes of all outputs in dvc.lock."""
    lock = (folder / "dvc.lock").read_text()
    return re.findall(r"md5: \S+", "".join(part.split("outs:")[1] for part in lock.split("cmd:")[1:]))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    with tempfile.TemporaryDirectory() as temporary:
        first, second = clone(Path(temporary) / "first"), clone(Path(temporary) / "second")
        seconds, accuracies, again = [], [], []
        for seed in range(seeds):
            params = first / "params.yaml"
            params.write_text(re.sub(r"(?m)^  seed: \d+", f"  seed: {seed}", params.read_text()))
            # The whole pipeline each time, download included, which does not depend on the seed.
            seconds.append(run(["dvc", "repro", "--force", "--no-run-cache"], first)[0])
            accuracies.append(test_accuracy(first))
            if seed == 0:
                run(["dvc", "repro"], second)
                equal = output_hashes(first) == output_hashes(second)
            elapsed, output = run(["dvc", "repro"], first)
            again.append(elapsed)
            assert "Running stage" not in output
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| what | median | all |\n|---|---|---|")
    for name, values, digits in (("`dvc repro`, five stages, s", seconds, 1), ("second `dvc repro`, s", again, 2)):
        print(f"| {name} | {statistics.median(values):.{digits}f} | {', '.join(f'{value:.{digits}f}' for value in values)} |")
    print(f"| test accuracy, mean {statistics.mean(accuracies):.4f} | | {', '.join(f'{value:.4f}' for value in accuracies)} |")
    print(f"| output hashes of two clones equal | {equal} | |")


if __name__ == "__main__":
    main()
