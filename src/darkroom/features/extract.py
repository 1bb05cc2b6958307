"""Features of images of data/raw and of files, kept on disk for the next time. N images, D features."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor, from_numpy

from darkroom.base import files, paths
from darkroom.base.params import PredictParams
from darkroom.data.pack import Pack, Rows
from darkroom.features.backbone import Backbone
from darkroom.inference.photos import PhotoReader, Photos
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import make_loader, num_readers
from darkroom.input.samplers import SequentialBatchSampler

BATCH_SIZE = 32
# Of the files of data/raw the one that holds labels.
INDEX = "index.parquet"
Features = NDArray[np.float32]


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of image files.

    Attributes
    ----------
    paths
        n files that could be read.
    values : (n, D) float32
        Of length 1.
    bad
        Files that could not be read, with the reason.
    """

    paths: list[Path]
    values: Features
    bad: list[tuple[Path, str]]


def features_dir() -> Path:
    """Return the folder that keeps features: that of DVC's temporary files, which Git and DVC ignore."""
    return paths.main_repository() / ".dvc" / "tmp" / "darkroom-features"


def pack_features(backbone: Backbone, pack: Pack, rows: Rows) -> Features:
    """Return the features (len(rows), D) of rows of the pack."""
    # Of the images alone: a corrected label changes no feature.
    stored = {name: digest for name, digest in pack.dataset["files"].items() if name != INDEX}
    parts = [backbone.digest, json.dumps(stored), hashlib.sha256(rows.tobytes()).hexdigest()]

    def compute() -> Features:
        images = ImageDataset.for_network(pack, backbone.preprocessing, backbone.preprocess)
        readers = num_readers(backbone.hardware, images, on_gpu=backbone.device.type == "cuda")
        loader = make_loader(images, SequentialBatchSampler(rows, batch_size=BATCH_SIZE), readers=readers)
        return _joined(backbone, (batch["images"] for batch in loader), len(loader))

    return _kept(parts, compute, len(rows))


def photo_features(backbone: Backbone, photos: Sequence[Path], params: PredictParams) -> PhotoFeatures:
    """Return the features of image files; those that cannot be read are listed. `params` has the limits for reading them."""
    params = params.model_copy(update={"batch_size": BATCH_SIZE})
    reading = Photos(photos, params, PhotoReader.of(backbone.preprocessing, backbone.preprocess))
    images = (from_numpy(batch).permute(0, 3, 1, 2) for batch in reading)
    values = _joined(backbone, images, len(reading))
    return PhotoFeatures(reading.read, values, reading.bad)


def _joined(backbone: Backbone, batches: Iterable[Tensor], total: int) -> Features:
    shown = track(batches, "features", total, console=Console(), transient=True, disable=not sys.stdout.isatty())
    every = [backbone.features(images).numpy() for images in shown]
    return np.concatenate(every) if every else np.zeros((0, 0), np.float32)


def _kept(parts: Sequence[str], compute: Callable[[], Features], count: int) -> Features:
    path = features_dir() / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.npy"
    try:
        found: Features = np.load(path, allow_pickle=False)
        if found.dtype == np.float32 and found.ndim == 2 and len(found) == count:
            return found
    except (OSError, ValueError, EOFError):
        pass  # it is computed again
    found = compute()
    with files.replaced_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, found, allow_pickle=False)
    return found
