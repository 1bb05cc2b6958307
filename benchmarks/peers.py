"""The trainers that Darkroom is compared with, each started as its own documentation says."""

import csv
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Output channels of torchvision's feature extractors, which ultralytics needs to add its head.
FEATURES = {"mobilenet_v3_small": 576, "resnet18": 512}
ULTRALYTICS = """
import json, sys
from ultralytics import YOLO, settings
settings.update(dict.fromkeys(["clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb"], False))
configuration, arguments = sys.argv[1], json.loads(sys.argv[2])
print("accuracy", YOLO(configuration, task="classify").train(**arguments).top1)
"""
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)  # as on most machines, compiled Python files are kept


class Result(NamedTuple):
    """One training."""

    name: str
    epochs: int
    seconds: float
    accuracy: float


def run(command: list[str], folder: Path, log: Path, **environment: str) -> float:
    """Run a command, whose output goes to a file, and return its seconds."""
    start = time.perf_counter()
    with log.open("w") as file:
        status = subprocess.run(
            command, cwd=folder, env=ENVIRONMENT | environment, stdout=file, stderr=subprocess.STDOUT
        ).returncode
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    return time.perf_counter() - start


def from_archive(archive: Path) -> list[str]:
    """Return the overrides that make `dvc exp run` read its images from an archive."""
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    pairs = ("source=archive", "dataset=null", f"archive={archive}", f"sha256={sha256}")
    return [word for pair in pairs for word in ("-S", f"download.{pair}")]


def timm(
    script: Path, folder: Path, model: str, size: int, epochs: int, work: Path, batch_size: int = 128, more: Sequence[str] = ()
) -> Result:
    """Run timm's train.py on train/ and test/ of a folder.

    AdamW, warm-up and cosine schedule, crops and flips, label smoothing, channels last. The learning rate scales with the batch
    size. Later flags, `more`, win.
    """
    classes = len(list((folder / "train").iterdir()))
    output = work / f"timm{epochs}"
    flags = (
        f"--data-dir {folder} --train-split train --val-split test --num-classes {classes} --model {model} "
        f"--input-size 3 {size} {size} "
        f"--epochs {epochs} --sched cosine --warmup-epochs {1 if epochs > 1 else 0} --cooldown-epochs 0 --opt adamw "
        "--lr-base 0.00283 --lr-base-size 256 "
        f"--weight-decay 0.05 --smoothing 0.1 --batch-size {batch_size} --scale 0.35 1.0 --color-jitter 0 "
        "--crop-pct 1.0 --channels-last "
        f"--device cpu --workers 2 --checkpoint-hist 1 --output {output} --experiment run"
    )
    seconds = run([sys.executable, str(script), *flags.split(), *more], work, work / f"timm{epochs}.log")
    rows = list(csv.DictReader((output / "run" / "summary.csv").read_text().splitlines()))
    return Result(f"timm's train.py, {model}", epochs, seconds, float(rows[-1]["eval_top1"]) / 100)


def timm_rate(work: Path, epochs: int) -> float:
    """Return the training images per second of the last epoch of `timm`, as it prints their mean."""
    rates = re.findall(rf"Train: {epochs - 1} .*\(\d+\.\d+s, +([\d.]+)/s\)", (work / f"timm{epochs}.log").read_text())
    return float(rates[-1])


def torchvision(
    script: Path, folder: Path, model: str, size: int, epochs: int, work: Path, batch_size: int = 128, more: Sequence[str] = ()
) -> Result:
    """Run torchvision's reference on train/ and test/ of a folder.

    SGD, warm-up and cosine schedule, crops and flips, label smoothing, no weight decay of normalisation layers. The learning rate
    scales with the batch size, as its README recommends.
    """
    named = work / "named"
    if not named.exists():  # it reads its test images from val/
        named.mkdir()
        (named / "train").symlink_to(folder / "train")
        (named / "val").symlink_to(folder / "test")
    flags = (
        f"--data-path {named} --model {model} --device cpu --workers 2 --batch-size {batch_size} --epochs {epochs} "
        f"--opt sgd --lr {0.1 * batch_size / 128} "
        "--lr-scheduler cosineannealinglr --lr-warmup-method linear "
        f"--lr-warmup-epochs {1 if epochs > 1 else 0} --weight-decay 0.0005 --norm-weight-decay 0.0 --label-smoothing 0.1 "
        f"--train-crop-size {size} --val-resize-size {size} --val-crop-size {size} --output-dir {work}"
    )
    log = work / f"torchvision{epochs}.log"
    seconds = run([sys.executable, str(script), *flags.split(), *more], script.parent, log)
    accuracies = re.findall(r"Test:\s+Acc@1 ([\d.]+)", log.read_text())
    return Result(f"torchvision's reference, {model}", epochs, seconds, float(accuracies[-1]) / 100)


def ultralytics(package: Path, folder: Path, model: str, size: int, epochs: int, work: Path, batch_size: int = 128) -> Result:
    """Run ultralytics' trainer, installed in its own folder, on train/ and val/ of a folder.

    A feature extractor of torchvision with ultralytics' head; AdamW, crops and flips; no label smoothing, which it does not
    offer; decoded images cached on disk. Its other augmentations are off, since the other trainers do not have them.
    """
    configuration = work / "ultralytics.yaml"
    classes = len(list((folder / "train").iterdir()))
    configuration.write_text(
        f"nc: {classes}\nbackbone:\n  - [-1, 1, TorchVision, [{FEATURES[model]}, {model}, None, True, 2]]\n"
        "head:\n  - [-1, 1, Classify, [nc]]\n"
    )
    arguments = {
        **{"data": str(folder), "epochs": epochs, "imgsz": size, "batch": batch_size, "device": "cpu", "workers": 2},
        **{
            "optimizer": "AdamW",
            "lr0": 0.001,
            "cos_lr": True,
            "cache": "disk",
            "project": str(work),
            "name": f"ultralytics{epochs}",
        },
        **{"pretrained": False, "amp": False, "plots": False, "auto_augment": None, "erasing": 0.0, "exist_ok": True},
        **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v"), 0.0),
    }
    log = work / f"ultralytics{epochs}.log"
    away = {"YOLO_CONFIG_DIR": str(work), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "PYTHONPATH": str(package)}
    seconds = run([sys.executable, "-c", ULTRALYTICS, str(configuration), json.dumps(arguments)], work, log, **away)
    accuracy = float(re.findall(r"^accuracy ([\d.]+)", log.read_text(), re.MULTILINE)[-1])
    return Result(f"ultralytics, {model}", epochs, seconds, accuracy)
