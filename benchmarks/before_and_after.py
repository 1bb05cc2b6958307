"""Two trainings by an earlier commit of this repository and by this one, in turns: seconds of the stages, and the accuracy.

    python benchmarks/before_and_after.py --before 256745e --cifar cifar10-images.tar.gz --flowers flowers12.tar.gz [--rounds 5]

256745e is the last commit before anything was done about speed. Both archives hold train/ and test/ with a folder per class.
Each commit's own code trains in a clone of its own, with the packages that are installed here: CIFAR as the preset cifar10_small,
but for two epochs, with the same parameters in both; photos with a MobileNetV3 for three epochs, cut out and mirrored by the
transforms of torchvision, as the presets had it then, and of this project, as they have it now.
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
from importlib.metadata import version
from itertools import product
from pathlib import Path

from default_pipeline import clone, run, test_accuracy
from peers import ROOT, from_archive

STAGES = ("train", "evaluate")
CIFAR = ("train.epochs=2",)
PHOTOS = (
    "train.model.provider=timm",
    "train.model.name=mobilenetv3_small_100",
    "train.image_size=224",
    "train.batch_size=64",
    "train.epochs=3",
    "train.early_stopping=null",
)
CUT_BEFORE = (
    "train.augment=[{_target_: RandomResizedCrop, size: 224, scale: [0.35, 1.0], antialias: true}, "
    "{_target_: RandomHorizontalFlip}]"
)
CUT_AFTER = "train.augment=[{_target_: RandomCropResize, scale: [0.35, 1.0]}, RandomFlip]"


def prepared(folder: Path, commit: str, archive: Path, settings: list[str]) -> Path:
    """Clone, and run the pipeline of a commit once, after which its stages can be run by themselves."""
    clone(folder)
    run(["git", "checkout", "--quiet", commit], folder)
    run(["dvc", "exp", "run", *from_archive(archive), *(word for pair in settings for word in ("-S", pair))], folder)
    return folder


def preset(name: str) -> list[str]:
    """Return this commit's preset as pairs, without those of the data."""
    words = run([sys.executable, "darkroom", "preset", name], ROOT)[1].split()
    return [word for word in words if word.lstrip("~+").startswith(("train.", "evaluate.", "predict."))]


def measured(clones: dict[str, Path], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each stage of each commit, run in turns."""
    seconds: dict[str, dict[str, list[float]]] = {commit: {stage: [] for stage in STAGES} for commit in clones}
    for _, (commit, folder), stage in product(range(rounds), clones.items(), STAGES):
        shutil.rmtree(folder / ".resume", ignore_errors=True)  # train would only publish what it has trained
        seconds[commit][stage].append(run([sys.executable, f"src/{stage}.py"], folder)[0])
    return seconds


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--before", default="256745e", help="a commit (256745e)")
    parser.add_argument("--cifar", type=Path, help="CIFAR-10 as images")
    parser.add_argument("--flowers", type=Path, help="photos")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    cases: dict[str, tuple[Path, list[str], list[str]]] = {}
    if given.cifar:
        settings = [*preset("cifar10_small"), *CIFAR]
        cases["CIFAR-10"] = (given.cifar.resolve(), settings, settings)
    if given.flowers:
        cases["photos"] = (given.flowers.resolve(), [*PHOTOS, CUT_BEFORE], [*PHOTOS, CUT_AFTER])
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm", "pytorch-lightning"))
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}\n"
    )
    print("| data | commit | train, s: median (all) | evaluate, s: median (all) | test accuracy |\n|---|---|---|---|---|")
    for name, (archive, before, after) in cases.items():
        with tempfile.TemporaryDirectory() as temporary:
            commits = {given.before: before, "HEAD": after}
            clones = {commit: prepared(Path(temporary, commit), commit, archive, pairs) for commit, pairs in commits.items()}
            for commit, stages in measured(clones, given.rounds).items():
                cells = [
                    f"{statistics.median(values):.1f} ({', '.join(f'{value:.1f}' for value in values)})"
                    for values in stages.values()
                ]
                print(f"| {name} | {commit} | {' | '.join(cells)} | {test_accuracy(clones[commit]):.4f} |", flush=True)


if __name__ == "__main__":
    main()
