"""Accuracy on a test set after equal time: Darkroom, timm's train.py and torchvision's reference, one after the other.

    git clone --depth 1 https://github.com/huggingface/pytorch-image-models timm && git clone --depth 1 https://github.com/pytorch/vision
    python benchmarks/equal_time.py ARCHIVE --preset cifar10_small --size 32 --timm timm --vision vision

ARCHIVE is a tar file of train/ and test/ with a folder per class. Seconds are those of the whole command, start and measuring
included; the others have as many epochs as make up Darkroom's, rounded up. Darkroom has a tenth fewer training pictures, its
validation split, by which it chooses its epoch; the others measure the test pictures after every epoch, and of them the last one
counts.
"""

import argparse
import csv
import json
import math
import os
import platform
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


class Result(NamedTuple):
    """One training."""

    name: str
    epochs: int
    seconds: float
    accuracy: float


def run(command: list[str], folder: Path, log: Path) -> float:
    """Run a command, whose output goes to a file, and return its seconds."""
    start = time.perf_counter()
    with log.open("w") as file:
        status = subprocess.run(command, cwd=folder, env=ENVIRONMENT, stdout=file, stderr=subprocess.STDOUT).returncode
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    return time.perf_counter() - start


def darkroom(archive: Path, preset: list[str], work: Path) -> Result:
    """Run a clone's whole pipeline, download to predict, with a preset, which says how many epochs."""
    clone = work / "darkroom"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    sha256 = subprocess.run(["sha256sum", str(archive)], capture_output=True, text=True, check=True).stdout.split()[0]
    words = subprocess.run(
        [sys.executable, "src/preset.py", *preset], cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, check=True
    ).stdout.split()
    source = [f"download.{key}" for key in ("source=archive", "dataset=null", f"archive={archive}", f"sha256={sha256}")]
    command = ["dvc", "exp", "run", *words, *(word for pair in source for word in ("-S", pair))]
    log = work / "darkroom.log"
    seconds = run(command, clone, log)
    metrics = json.loads((clone / "metrics/evaluate/metrics.json").read_text())
    epochs = int(re.findall(r"epoch (\d+)/", log.read_text())[-1])
    return Result(f"Darkroom, preset {' '.join(preset)}", epochs, seconds, metrics["test"]["accuracy"])


def timm(script: Path, folder: Path, model: str, size: int, epochs: int, work: Path) -> Result:
    """Run timm's train.py: AdamW with warm-up and cosine, crops and flips, smoothing; channels last."""
    classes = len(list((folder / "train").iterdir()))
    output = work / f"timm{epochs}"
    flags = (
        f"--data-dir {folder} --train-split train --val-split test --num-classes {classes} --model {model} "
        f"--input-size 3 {size} {size} "
        f"--epochs {epochs} --sched cosine --warmup-epochs {1 if epochs > 1 else 0} --cooldown-epochs 0 --opt adamw --lr 0.002 "
        "--weight-decay 0.05 --smoothing 0.1 --batch-size 128 --scale 0.35 1.0 --color-jitter 0 --crop-pct 1.0 --channels-last "
        f"--device cpu --workers 2 --checkpoint-hist 1 --output {output} --experiment run"
    )
    seconds = run([sys.executable, str(script), *flags.split()], work, work / f"timm{epochs}.log")
    rows = list(csv.DictReader((output / "run" / "summary.csv").open()))
    return Result(f"timm's train.py, {model}", epochs, seconds, float(rows[-1]["eval_top1"]) / 100)


def torchvision(script: Path, folder: Path, model: str, size: int, epochs: int, work: Path) -> Result:
    """Run torchvision's reference: SGD with warm-up and cosine, crops and flips, smoothing, no decay of normalisation."""
    named = work / "named"
    if not named.exists():  # it wants its test pictures in val/
        named.mkdir()
        (named / "train").symlink_to(folder / "train")
        (named / "val").symlink_to(folder / "test")
    flags = (
        f"--data-path {named} --model {model} --device cpu --workers 2 --batch-size 128 --epochs {epochs} --opt sgd --lr 0.1 "
        "--lr-scheduler cosineannealinglr --lr-warmup-method linear "
        f"--lr-warmup-epochs {1 if epochs > 1 else 0} --weight-decay 0.0005 --norm-weight-decay 0.0 --label-smoothing 0.1 "
        f"--train-crop-size {size} --val-resize-size {size} --val-crop-size {size} --output-dir {work}"
    )
    log = work / f"torchvision{epochs}.log"
    seconds = run([sys.executable, str(script), *flags.split()], script.parent, log)
    accuracies = re.findall(r"Test:\s+Acc@1 ([\d.]+)", log.read_text())
    return Result(f"torchvision's reference, {model}", epochs, seconds, float(accuracies[-1]) / 100)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--preset", nargs="+", default=["cifar10_small"])
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--timm", type=Path, help="a clone of pytorch-image-models")
    parser.add_argument("--timm-model", default="resnet18")
    parser.add_argument("--vision", type=Path, help="a clone of pytorch/vision")
    parser.add_argument("--vision-model", default="resnet18")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        results = [darkroom(given.archive.resolve(), given.preset, work)]
        with tarfile.open(given.archive) as tar:
            tar.extractall(work / "pictures", filter="data")
        rivals = [
            (timm, given.timm and given.timm / "train.py", given.timm_model),
            (torchvision, given.vision and given.vision / "references/classification/train.py", given.vision_model),
        ]
        for trainer, script, model in rivals:
            if script:
                # The start, which is in the one epoch as well, is their gain.
                one = trainer(script.resolve(), work / "pictures", model, given.size, 1, work)
                epochs = math.ceil(results[0].seconds / one.seconds)
                results.append(trainer(script.resolve(), work / "pictures", model, given.size, epochs, work))
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {packages}\n")
    print("| trainer | epochs | seconds | test accuracy |\n|---|---|---|---|")
    for result in results:
        print(f"| {result.name} | {result.epochs} | {result.seconds:.0f} | {result.accuracy:.4f} |")


if __name__ == "__main__":
    main()
