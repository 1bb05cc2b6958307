"""Measure one epoch on the same photos with Darkroom, timm's train.py, torchvision's reference and ultralytics.

    python benchmarks/epoch.py FOLDER --timm timm --vision vision --ultralytics ultra [--rounds 5]

FOLDER has a folder of photos per class. timm and vision are clones of pytorch-image-models and pytorch/vision; ultra is the
target of `pip install --target ultra ultralytics`, which is under the AGPL and not part of Darkroom. The trainers alternate. Each
runs for one epoch and for three; half the difference is the time of an epoch without start-up. All train the same architecture on
crops of 224 pixels with batches of 128 in float32. The number of training photos is a multiple of 128, since timm drops the last
incomplete batch; validation uses two more photos of each class.
"""

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from peers import ROOT, Result, run, timm, torchvision, ultralytics

SIZE, BATCH, MOST = 224, 128, 3


def ours(folder: Path, work: Path, model: str, download: list[str]) -> Callable[[int], float]:
    """Prepare a clone, and return a function that trains in it for a number of epochs and returns the seconds."""
    clone = work / "darkroom" / "-".join(["as-it-is", *download]).replace("=", "-")
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    log = work / "darkroom.log"
    values = {"model.provider": "timm", "model.name": model, "image_size": SIZE, "batch_size": BATCH, "epochs": 1}
    pairs = [
        *(f"download.{pair}" for pair in ("source=folder", "dataset=null", f"folder={folder}", *download)),
        *(f"train.{key}={value}" for key, value in values.items()),
        "train.early_stopping=null",
        "train.augment=[{_target_: RandomCropResize}, RandomFlip]",
    ]
    settings = [word for pair in pairs for word in ("-S", pair)]
    # Prepares the data; only the train stage is measured.
    run(["dvc", "exp", "run", *settings], clone, log)
    params = clone / "params.yaml"

    def trained(epochs: int) -> float:
        text = params.read_text(encoding="utf-8")
        params.write_text(re.sub(r"(?m)^(  epochs:) \d+", rf"\1 {epochs}", text), encoding="utf-8")
        shutil.rmtree(clone / ".resume", ignore_errors=True)
        return run([sys.executable, "src/train.py"], clone, log)

    return trained


def seconds(trainer: Callable[..., Result], script: Path, folder: Path, model: str, work: Path, epochs: int) -> float:
    """Return the seconds of another trainer's command."""
    return trainer(script, folder, model, SIZE, epochs, work).seconds


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--timm", type=Path, help="a clone of pytorch-image-models")
    parser.add_argument("--timm-model", default="mobilenetv3_small_100")
    parser.add_argument("--vision", type=Path, help="a clone of pytorch/vision")
    parser.add_argument("--vision-model", default="mobilenet_v3_small")
    parser.add_argument("--ultralytics", type=Path, help="folder that ultralytics is installed in")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        divided, count = divide(given.folder.resolve(), work / "photos")
        trainers: dict[str, Callable[[int], float]] = {}
        if given.vision:
            script = given.vision.resolve() / "references/classification/train.py"
            trainers[f"torchvision's reference, {given.vision_model}"] = partial(
                seconds, torchvision, script, divided, given.vision_model, work
            )
        if given.timm:
            script = given.timm.resolve() / "train.py"
            trainers[f"timm's train.py, {given.timm_model}"] = partial(seconds, timm, script, divided, given.timm_model, work)
        if given.ultralytics:
            package = given.ultralytics.resolve()
            trainers[f"ultralytics, {given.vision_model}"] = partial(
                seconds, ultralytics, package, divided, given.vision_model, work
            )
        for download in ([], ["resize=256"], ["resize=256", "format=raw"]):
            name = " ".join(["Darkroom,", given.timm_model, *download])
            trainers[name] = ours(divided, work, given.timm_model, download)
        speeds: dict[str, list[float]] = {name: [] for name in trainers}
        for _ in range(given.rounds):
            for name, trained in trainers.items():
                once = trained(1)
                speeds[name].append(count * (MOST - 1) / (trained(MOST) - once))
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {packages}, {count} photos\n")
    print("| trainer | images/s: median (all) | ratio |\n|---|---|---|")
    base = statistics.median(next(iter(speeds.values())))
    for name, each in speeds.items():
        middle = statistics.median(each)
        print(f"| {name} | {middle:.1f} ({', '.join(f'{speed:.1f}' for speed in each)}) | {middle / base:.2f} |")


def divide(folder: Path, target: Path) -> tuple[Path, int]:
    """Copy photos into val/, test/ and train/, whole batches there; return the target and the number of training photos."""
    classes = [sorted(photos.iterdir()) for photos in sorted(folder.iterdir()) if photos.is_dir()]
    # Classes alternate, so that dropping the incomplete batch costs every class the same.
    of_train = [path for _, path in sorted((number, path) for paths in classes for number, path in enumerate(paths[4:]))]
    of_train = of_train[: len(of_train) // BATCH * BATCH]
    splits = {
        "val": [path for paths in classes for path in paths[:2]],
        "test": [path for paths in classes for path in paths[2:4]],
    }
    for split, paths in {**splits, "train": of_train}.items():
        for path in paths:
            copy = target / split / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    return target, len(of_train)


if __name__ == "__main__":
    main()
