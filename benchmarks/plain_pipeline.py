"""Measure the default pipeline beside five plain scripts that do the same: python benchmarks/plain_pipeline.py [--rounds 3].

benchmarks/plain has them, written the usual way with Lightning, scikit-learn, pandas, torchmetrics, matplotlib and DVC: the same
digits as PNG files, the same network, optimizer, schedule, augmentation and 20 epochs, the best epoch, a report, a confusion
matrix, a table of predictions. Both run with `dvc repro`, in turns, each in its own repository; then again with nothing to do.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
from pathlib import Path

from default_pipeline import clone, run, test_accuracy
from peers import ROOT

PLAIN = ROOT / "benchmarks" / "plain"


def plain(folder: Path) -> Path:
    """Make a repository of the plain scripts."""
    shutil.copytree(PLAIN, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pipeline.yaml").rename(folder / "dvc.yaml")  # under which name it would be a part of this repository's pipeline
    author = ["-c", "user.name=Benchmark", "-c", "user.email=benchmark@localhost"]
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["git", "add", "."],
        ["git", *author, "commit", "-qm", "first"],
    ):
        run(command, folder)
    return folder


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"Darkroom": clone(Path(temporary) / "darkroom"), "plain scripts": plain(Path(temporary) / "plain")}
        seconds: dict[str, list[float]] = {name: [] for name in folders}
        nothing: dict[str, list[float]] = {name: [] for name in folders}
        for _ in range(rounds):
            for name, folder in folders.items():
                seconds[name].append(run(["dvc", "repro", "--force", "--no-run-cache"], folder)[0])
        for _ in range(rounds):
            for name, folder in folders.items():
                elapsed, output = run(["dvc", "repro"], folder)
                assert "Running stage" not in output
                nothing[name].append(elapsed)
        report = json.loads((folders["plain scripts"] / "metrics.json").read_text())
        accuracies = {"Darkroom": test_accuracy(folders["Darkroom"]), "plain scripts": report["test"]["accuracy"]}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| | `dvc repro`, s: median (all) | with nothing to do, s | test accuracy |\n|---|---|---|---|")
    for name, values in seconds.items():
        every = ", ".join(f"{value:.1f}" for value in values)
        still = statistics.median(nothing[name])
        print(f"| {name} | {statistics.median(values):.1f} ({every}) | {still:.2f} | {accuracies[name]:.4f} |")
    ratio = statistics.median(seconds["Darkroom"]) / statistics.median(seconds["plain scripts"])
    print(f"\nDarkroom takes {ratio:.2f} times as long as the plain scripts, the median round.")


if __name__ == "__main__":
    main()
