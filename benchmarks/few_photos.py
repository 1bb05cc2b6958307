"""The photos that the benchmarks of few photos draw from, and their features, which are kept for the next call."""

import hashlib
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import ROOT

sys.path.insert(0, str(ROOT / "src"))
from darkroom.base import paths
from darkroom.base.params_file import load_sections
from darkroom.features.backbone import Backbone, open_backbone
from darkroom.features.photos import photo_features
from darkroom.transfer.logistic_head import fit_logistic

ENDINGS = (".jpg", ".jpeg", ".png")
NETWORK = "tf_efficientnet_lite0"
TOGETHER, PRESET_SIZE = "side by side", 224
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Photos:
    """All photos: `paths` by class and name, `labels` of each, `units`, equal for photos of equal bytes, and a hash of all."""

    paths: list[Path]
    labels: Rows
    units: Rows
    classes: list[str]
    digest: str

    @classmethod
    def of(cls, folder: Path) -> "Photos":
        """Find the photos below a folder; the folder that holds one is its class."""
        paths = sorted((path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS), key=lambda path: path.parts[-2:])
        classes = sorted({path.parent.name for path in paths})
        labels = np.array([classes.index(path.parent.name) for path in paths])
        hashes = [hashlib.sha256(path.read_bytes()).digest() for path in paths]
        units = np.unique(np.array(hashes), return_inverse=True)[1]
        return cls(paths, labels, units, classes, hashlib.sha256(b"".join(hashes)).hexdigest())

    def draw(self, count: int, seed: int) -> tuple[Rows, Rows]:
        """Return the rows to learn from, `count` a class, and those to test; of 0, those of train/ and the others."""
        if count == 0:
            is_train = np.array([path.parts[-3] == "train" for path in self.paths])
            return np.flatnonzero(is_train), np.flatnonzero(~is_train)
        random = np.random.default_rng([seed, count])
        chosen: list[int] = []
        for label in range(len(self.classes)):
            own: list[int] = []
            for unit in random.permutation(np.unique(self.units[self.labels == label])):
                rows = np.flatnonzero((self.units == unit) & (self.labels == label)).tolist()
                own += rows if len(own) + len(rows) <= count else []
            chosen += own
        learnt = np.isin(self.units, self.units[chosen])
        return np.array(sorted(chosen)), np.flatnonzero(~learnt)


class Mirrored(Backbone):
    """Returns the features of mirror images."""

    def features(self, images: Any) -> Any:
        """Return the features (N, D) of images (N, C, H, W)."""
        return super().features(images.flip(3))


def lay_out(photos: Photos, rows: tuple[Rows, Rows], target: Path) -> Path:
    """Copy a draw into train/ and test/ with a folder for each class."""
    for split, part in zip(("train", "test"), rows, strict=True):
        for row in part.tolist():
            copy = target / split / photos.classes[photos.labels[row]] / f"{row:05d}{photos.paths[row].suffix}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(photos.paths[row], copy)
    return target


def features_of(photos: Photos, name: str | None, keep: Path | None) -> tuple[NDArray[np.float32], float]:
    """Return features (N, 2, D) of each photo and its mirror image, and the seconds they took.

    They are those of an installed network, or, of None, those of the preset, which sees photos at its own size.
    """
    params = load_sections(paths.PARAMS, "base", "predict", "train", "hardware")
    backbone = open_backbone(name, hardware=params.hardware, threads=params.train.threads)
    if name is None:
        backbone = replace(backbone, preprocessing=backbone.preprocessing.model_copy(update={"image_size": PRESET_SIZE}))
    digest = hashlib.sha256(f"{backbone.digest}{backbone.preprocessing}{photos.digest}".encode()).hexdigest()[:16]
    kept = keep / f"{name or TOGETHER}-{digest}.npz" if keep else None
    if kept and kept.exists():
        found = np.load(kept)
        return found["features"], float(found["seconds"])
    start = time.perf_counter()
    views = [photo_features(each, photos.paths, params.predict).values for each in (backbone, Mirrored(**vars(backbone)))]
    seconds = time.perf_counter() - start
    features = np.stack(views, axis=1)
    if len(features) != len(photos.paths):
        sys.exit("some photos cannot be read")
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, features=features, seconds=seconds)
    return features, seconds


def head_accuracy(features: NDArray[np.float32], photos: Photos, learnt: Rows, tested: Rows) -> tuple[float, float]:
    """Fit the preset's head as the preset does, to photos as they are; return its accuracy with `tta: flip`, and its seconds."""
    start = time.perf_counter()
    head = fit_logistic(
        features[learnt, 0], photos.labels[learnt], num_classes=len(photos.classes), groups=photos.units[learnt], seed=0
    )
    seconds = time.perf_counter() - start
    logits = (head.logits(features[tested, 0]) + head.logits(features[tested, 1])) / 2
    return float((logits.argmax(axis=1) == photos.labels[tested]).mean()), seconds
