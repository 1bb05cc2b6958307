"""Measure presets on a folder of photos, from the folder to predictions: python benchmarks/photo_presets.py FOLDER.

Each seed divides the photos anew. Every run is cold: a fresh clone, all five stages, no run cache.
"""

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


def measured(folder: Path, command: list[str]) -> dict[str, float]:
    """Run a command of DVC, and return its seconds by stage and in all."""
    start = begun = time.perf_counter()
    seconds: dict[str, float] = {}
    stage = "before"
    with subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        lines = []
        for line in running.stdout or []:
            lines.append(line)
            if found := re.search(r"Running stage '(\w+)'", line):
                now = time.perf_counter()
                seconds[stage], begun, stage = now - begun, now, found[1]
    if running.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{''.join(lines)}")
    now = time.perf_counter()
    return seconds | {stage: now - begun, "all": now - start}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="a folder with a folder of photos for each class")
    parser.add_argument("--preset", nargs="+", default=["photos", "photos_finetune"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="such as split.test_fraction=0.25")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    for preset in options.preset:
        accuracies, epochs = [], []
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as temporary:
                clone = Path(temporary) / "clone"
                subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
                asked = [sys.executable, "darkroom", "preset", preset]
                printed = subprocess.run(asked, cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout
                changes = [
                    "download.source=folder",
                    f"download.folder={options.folder.resolve()}",
                    f"split.seed={seed}",
                    *options.set,
                ]
                command = ["dvc", "exp", "run", *printed.split(), *(part for each in changes for part in ("-S", each))]
                seconds = measured(clone, command)
                metrics = json.loads((clone / "metrics" / "evaluate.json").read_text())
                published = json.loads((clone / "metrics" / "train.json").read_text())["published"]
            accuracies.append(float(metrics["test"]["accuracy"]))
            epochs.append(published["epoch"])
            shown = ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
            print(f"{preset} seed {seed}: test accuracy {accuracies[-1]:.4f}, epoch {epochs[-1]}; seconds: {shown}", flush=True)
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        print(f"{preset}: mean {statistics.mean(accuracies):.4f}, standard deviation {spread:.4f}, epochs {epochs}", flush=True)


if __name__ == "__main__":
    main()
