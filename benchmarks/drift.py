"""Measure `./darkroom drift`: python benchmarks/drift.py FLOWERS CIFAR10 [--draws 200] [--quick].

Each draw divides photos of known classes at random into images of data/raw (train, val) and a folder of new photos. Foreign
photos are put into it, or all of it is changed. How often drift is found, with Wilson's 95 % interval; of ordinary folders that
is the rate of false alarms. FLOWERS and CIFAR10 are folders with a folder of photos for each class somewhere below; the digits
come with scikit-learn. The model is a logistic regression on train.
`--quick` takes a tenth of the draws.
"""

import argparse
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from darkroom.base import paths
from darkroom.base.params_file import load_sections
from darkroom.drift.foreign import distances_out_of_fold
from darkroom.drift.judgement import Judgement, judge
from darkroom.drift.measured import Measured, Outputs
from darkroom.features.appearance import APPEARANCE
from darkroom.metrics.bootstrap import wilson
from darkroom.transfer.logistic_head import fit_logistic

PER_CLASS, STRENGTH = 300, 100.0
BACKBONE = "tf_efficientnet_lite0"
Rows = NDArray[np.int64]


class Images(NamedTuple):
    """Features (n, D), appearance (n, 4) and classes (n,) of photos."""

    features: NDArray[np.float32]
    appearance: NDArray[np.float32]
    labels: Rows

    def take(self, rows: Rows) -> "Images":
        """Return some of them."""
        return Images(*(each[rows] for each in self))

    def with_others(self, others: "Images") -> "Images":
        """Return these and others."""
        return Images(*(np.concatenate(each) for each in zip(self, others, strict=True)))


def jpeg(image: Image.Image) -> Image.Image:
    """Return an image after JPEG compression of quality 30."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "30 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "blur, 1 pixel": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "JPEG quality 30": jpeg,
}


def read(photos: list[Path], change: Callable[[Image.Image], Image.Image] | None = None) -> Images:
    """Return features of photos, of which those that were computed before are kept; changed ones are written as PNG first."""
    from darkroom.features.backbone import open_backbone
    from darkroom.features.photos import photo_features

    params = load_sections(paths.PARAMS, "base", "predict", "train", "hardware")
    backbone = open_backbone(BACKBONE, hardware=params.hardware, threads=params.train.threads)
    labels = np.unique([path.parent.name for path in photos], return_inverse=True)[1].astype(np.int64)
    with tempfile.TemporaryDirectory() as folder:
        made = photos
        if change is not None:
            made = [Path(folder) / f"{number}.png" for number in range(len(photos))]

            def write(number: int) -> None:
                change(Image.open(photos[number]).convert("RGB")).save(made[number])

            with ThreadPoolExecutor(2) as threads:
                list(threads.map(write, range(len(photos))))
        found = photo_features(backbone, made, params.predict)
    assert not found.bad
    return Images(np.array(found.values), found.appearance, labels)


def photos_of(folder: Path) -> list[Path]:
    """Return at most `PER_CLASS` photos of each class."""
    classes: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.jpg")):
        classes.setdefault(path.parent.name, []).append(path)
    return [path for each in classes.values() for path in each[:PER_CLASS]]


def digits(folder: Path) -> list[Path]:
    """Write the digits of scikit-learn as files."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    found = []
    for number, (image, label) in enumerate(zip((images * 15.9).astype(np.uint8).reshape(-1, 8, 8), labels, strict=True)):
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        found.append(path)
    return found


def judged(known: Images, num_val: int, new: Images, seed: int) -> Judgement:
    """Return the answer on new photos beside images of data/raw, of which the last `num_val` are those of `val`."""
    present, labels = np.unique(known.labels, return_inverse=True)
    own, distances = distances_out_of_fold(known.features, labels, np.arange(len(labels)), new.features)
    train = slice(0, len(labels) - num_val)
    head = fit_logistic(known.features[train], labels[train], num_classes=len(present), strength=STRENGTH)

    def outputs(features: NDArray[np.float32]) -> Outputs:
        probabilities = head.probabilities(features)
        return Outputs(probabilities.max(axis=1), probabilities.argmax(axis=1))

    def measured(images: Images, away: NDArray[np.float64]) -> Measured:
        return Measured(images.features, away, dict(zip(APPEARANCE, images.appearance.T.astype(np.float64), strict=True)))

    both = outputs(known.features[-num_val:]), outputs(new.features)
    return judge(measured(known, own), measured(new, distances), seed, both, [str(each) for each in present])


class Case(NamedTuple):
    """What is in a folder of `count` photos: a share of `foreign` ones, all of `changed`, no class `without`, or one often."""

    name: str
    count: int
    draws: int
    foreign: Images | None = None
    share: float = 0.0
    changed: Callable[[], Images] | None = None
    without: int | None = None
    often: int = 1


def measure(images: Images, num_known: int, case: Case) -> Iterator[Judgement]:
    """Yield the answer of each draw."""
    changed = images if case.changed is None else case.changed()
    for draw in range(case.draws):
        random = np.random.default_rng(draw)
        order = random.permutation(len(images.labels))
        if case.without is not None:
            order = order[images.labels[order] != case.without]
        known, rest = order[:num_known], order[num_known:]
        if case.often > 1:
            weights = np.where(images.labels[rest] == 0, case.often, 1.0)
            rest = random.choice(rest, min(case.count, len(rest)), replace=False, p=weights / weights.sum())
        num_foreign = round(case.share * case.count)
        new = changed.take(rest[: case.count - num_foreign])
        if case.foreign is not None:
            new = new.with_others(case.foreign.take(random.permutation(len(case.foreign.labels))[:num_foreign]))
        yield judged(images.take(known), num_known // 5, new, draw)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("flowers", type=Path)
    parser.add_argument("cifar10", type=Path)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="names of cases that hold this text")
    options = parser.parse_args()
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    many = options.draws // 10 if options.quick else options.draws
    few = max(2, many // 10)
    of_flowers = photos_of(options.flowers)
    flowers, cifar = read(of_flowers), read(photos_of(options.cifar10))
    with tempfile.TemporaryDirectory() as folder:
        numbers = read(digits(Path(folder)))
    cases: dict[str, tuple[Images, int, list[Case]]] = {
        "flowers": (
            flowers,
            460,
            [
                Case("ordinary", 500, many),
                Case("ordinary", 100, many),
                Case("5 % CIFAR-10", 500, few, cifar, 0.05),
                Case("10 % CIFAR-10", 100, few, cifar, 0.1),
                Case("5 % another species", 400, few, flowers.take(np.flatnonzero(flowers.labels == 0)), 0.05, without=0),
                Case("20 % another species", 200, few, flowers.take(np.flatnonzero(flowers.labels == 0)), 0.2, without=0),
                *(Case(name, 100, few, changed=partial(read, of_flowers, change)) for name, change in CHANGES.items()),
                Case("one class five times as often", 200, few, often=5),
            ],
        ),
        "CIFAR-10": (cifar, 1000, [Case("ordinary", 500, many), Case("5 % flowers", 500, few, flowers, 0.05)]),
        "digits": (
            numbers,
            1000,
            [
                Case("ordinary", 500, many),
                Case("5 % CIFAR-10", 500, few, cifar, 0.05),
                Case("one class five times as often", 200, few, often=5),
            ],
        ),
    }
    print("| data | images | photos | folder | drift found | 95 % interval | found by |\n" + "|---" * 7 + "|", flush=True)
    for name, (images, num_known, chosen) in cases.items():
        for case in chosen:
            if options.only not in f"{name} {case.name}":
                continue
            start, found = time.perf_counter(), list(measure(images, num_known, case))
            seconds = (time.perf_counter() - start) / len(found)
            times = sum(each.is_drift for each in found)
            ends = " to ".join(f"{100 * end:.1f} %" for end in wilson(times / len(found), len(found)))
            by = sorted({each.name for one in found if one.is_drift for each in one.findings if one.is_certain(each)})
            print(
                f"| {name} | {num_known} | {case.count} | {case.name} | {times} of {len(found)} | {ends} | {', '.join(by)} |",
                flush=True,
            )
            print(f"{name}, {case.name}: {seconds:.1f} s a draw", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
