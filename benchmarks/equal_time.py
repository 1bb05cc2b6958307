"""Compare test accuracy after equal time: Darkroom, timm's train.py and torchvision's reference, one after the other.

    git clone --depth 1 https://github.com/huggingface/pytorch-image-models timm && git clone --depth 1 https://github.com/pytorch/vision
    python benchmarks/equal_time.py ARCHIVE --preset cifar10_small --size 32 --timm timm --vision vision

ARCHIVE is a tar file of train/ and test/ with a folder per class. Seconds are those of the whole command, start-up and evaluation
included. The other trainers run for as many epochs as fit into Darkroom's time, rounded up. Darkroom trains on a tenth fewer
images: its validation split, which selects the epoch. The others measure the test images after every epoch; their last epoch
counts.
"""

import argparse
import json
import math
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

from peers import ENVIRONMENT, ROOT, Result, from_archive, run, timm, torchvision


def darkroom(archive: Path, preset: list[str], work: Path) -> Result:
    """Run the whole pipeline of a clone, download to predict, with a preset, which sets the number of epochs."""
    clone = work / "darkroom"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    words = subprocess.run(
        [sys.executable, "darkroom", "preset", *preset], cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout.split()
    command = ["dvc", "exp", "run", *words, *from_archive(archive)]
    log = work / "darkroom.log"
    seconds = run(command, clone, log)
    metrics = json.loads((clone / "metrics/evaluate.json").read_text())
    epochs = int(re.findall(r"epoch (\d+)/", log.read_text())[-1])
    return Result(f"Darkroom, preset {' '.join(preset)}", epochs, seconds, metrics["test"]["accuracy"])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--preset", nargs="+", default=["cifar10_small"])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=128, help="batch size of the other trainers (128)")
    parser.add_argument("--timm", type=Path, help="a clone of pytorch-image-models")
    parser.add_argument("--timm-model", default="resnet18")
    parser.add_argument("--vision", type=Path, help="a clone of pytorch/vision")
    parser.add_argument("--vision-model", default="resnet18")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        results = [darkroom(given.archive.resolve(), given.preset, work)]
        with tarfile.open(given.archive) as tar:
            tar.extractall(work / "images", filter="data")
        others = [
            (timm, given.timm and given.timm / "train.py", given.timm_model),
            (torchvision, given.vision and given.vision / "references/classification/train.py", given.vision_model),
        ]
        for trainer, script, model in others:
            if script:
                # The time of one epoch includes start-up, which favours the others.
                one = trainer(script.resolve(), work / "images", model, given.size, 1, work, given.batch_size)
                epochs = math.ceil(results[0].seconds / one.seconds)
                results.append(trainer(script.resolve(), work / "images", model, given.size, epochs, work, given.batch_size))
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {packages}\n")
    print("| trainer | epochs | seconds | test accuracy |\n|---|---|---|---|")
    for result in results:
        print(f"| {result.name} | {result.epochs} | {result.seconds:.0f} | {result.accuracy:.4f} |")


if __name__ == "__main__":
    main()
