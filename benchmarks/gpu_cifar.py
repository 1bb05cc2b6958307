"""CIFAR-10 in seconds, for benchmarks/gpu_steps.py: the preset cifar10_fast and airbench's own scripts in turns."""

import argparse
import statistics
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from io import BytesIO
from pathlib import Path

import numpy as np
from airbench import alternate, settings
from gpu_table import Row
from PIL import Image

# What another setting than cifar10_fast's needs for 96 %: the widths, shifts and epochs of airbench96. It was not tuned.
FOR_96 = {
    "model": {
        "provider": "builtin",
        "name": "whitened_cnn",
        "pretrained": False,
        "kwargs": {"widths": [128, 384, 512]},
        "weights": None,
        "weights_sha256": None,
    },
    "epochs": 37,
    "augment": [{"_target_": "AlternatingFlip"}, {"_target_": "RandomShift", "pixels": 4}],
}


def cifar(given: argparse.Namespace, level: int) -> Iterator[Row]:
    """Train cifar10_fast and airbench's own script in turns."""
    is_drawn = given.tiny or not given.cifar
    archive = draw_archive(given.work / "drawn.tar", 24 if given.tiny else 6000) if is_drawn else given.cifar
    content = settings("cifar10_fast", archive.resolve(), given.device)
    content["train"] |= FOR_96 if level == 96 else {}
    if given.tiny:
        content["train"]["model"]["kwargs"] = {"widths": [8, 8, 8]}
        content["train"] |= {"epochs": 2, "batch_size": 64, "precision": "32-true"}
        content["split"]["val_fraction"] = 0.1
    script = given.airbench / "legacy" / f"airbench{level}.py" if given.airbench else None
    folder = given.work / "cifar"
    folder.mkdir(exist_ok=True)
    epochs, runs = (2, 2) if given.tiny else (None, 5)
    with redirect_stdout(sys.stderr):
        left = given.begun + given.seconds - time.time() - 5
        found = alternate(content, folder, script, runs, seconds=left, epochs=epochs)
    what = f"CIFAR-10 to {level} %{', drawn images' if is_drawn else ''}, {len(found[0])} runs"
    (accuracies, seconds), others = zip(*found[0], strict=True), list(zip(*found[1], strict=True))
    name, middle, mean = f"airbench{level}", statistics.median(seconds), statistics.mean(accuracies)
    beside, ratio = [f"{name}: not given"] * 2, None
    if others:
        ratio = middle / statistics.median(others[1])
        beside = [f"{name}: {statistics.mean(others[0]):.4f} ({listed(others[0], 4)})"]
        beside.append(f"{name}: {statistics.median(others[1]):.3f} ({listed(others[1], 3)})")
    mine, met = f"{middle:.3f} ({listed(seconds, 3)})", None if ratio is None else ratio <= 1
    yield Row(f"{what}: seconds of the training, median (all)", mine, beside[1], ratio, "≤ 1.0", met)
    mine = f"{mean:.4f} ({listed(accuracies, 4)})"
    yield Row(f"{what}: test accuracy, mean (all)", mine, beside[0], None, f"≥ 0.{level}", mean >= level / 100)


def listed(values: Iterable[float], digits: int) -> str:
    """Return all values."""
    return ", ".join(f"{value:.{digits}f}" for value in values)


def draw_archive(path: Path, each: int) -> Path:
    """Write images of CIFAR-10's shape, noise around a colour of each of ten classes, a sixth of them to test on."""
    if path.exists():
        return path
    numbers = np.random.default_rng(0)
    colours = numbers.integers(40, 216, (10, 3))
    with tarfile.open(path, "w") as tar:
        for label, colour in enumerate(colours):
            for number in range(each):
                file = BytesIO()
                Image.fromarray(numbers.normal(colour, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)).save(file, "BMP")
                member = tarfile.TarInfo(f"{'test' if number < each // 6 else 'train'}/class{label}/{number:05d}.bmp")
                member.size = file.tell()
                file.seek(0)
                tar.addfile(member, file)
    return path
