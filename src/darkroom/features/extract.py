"""Features of images of data/raw and of files, kept on disk for the next time. N images, D features."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import from_numpy

from darkroom.base import paths
from darkroom.base.params import PredictParams
from darkroom.data.pack import Pack, Rows
from darkroom.features.backbone import Backbone
from darkroom.features.cache import Features, Places, cached, content_key
from darkroom.inference.photos import PhotoReader, Photos
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import make_loader, num_readers
from darkroom.input.samplers import SequentialBatchSampler

BATCH_SIZE = 32
# Rows that are moved together.
BLOCK = 4096
# Of another one nothing is taken over: it grows when the same weights come to give other features.
FORMAT = 1


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
    """Return the folder that keeps features."""
    return paths.features_dir()


def pack_features(backbone: Backbone, pack: Pack, rows: Rows) -> Features:
    """Return the features (len(rows), D) of rows of the pack, of length 1; many are mapped from a file.

    Raises
    ------
    InputError
        If the network has no last layer of its own, or an image is damaged.
    """

    def compute(places: Places) -> Iterator[tuple[Places, Features]]:
        images = ImageDataset.for_network(pack, backbone.preprocessing, backbone.preprocess)
        readers = num_readers(backbone.hardware, images, on_gpu=backbone.device.type == "cuda")
        loader = make_loader(images, SequentialBatchSampler(rows[places], batch_size=BATCH_SIZE), readers=readers)
        done = 0
        for batch in _shown(loader, len(loader), backbone, len(places)):
            features = backbone.features(batch["images"]).numpy()
            yield places[done : done + len(features)], features
            done += len(features)

    stored = ["pack", pack.form, pack.channels, pack.resize, pack.dtype]
    return cached(features_dir(), [*_about(backbone), *stored], [pack.pixel_hashes[row] for row in rows], compute)[0]


def photo_features(backbone: Backbone, photos: Sequence[Path], params: PredictParams) -> PhotoFeatures:
    """Return the features of image files; those that cannot be read are listed. `params` has the limits for reading them.

    Raises
    ------
    InputError
        If the network has no last layer of its own.
    """
    params = params.model_copy(update={"batch_size": BATCH_SIZE})
    bad: list[tuple[Path, str]] = []
    with ThreadPoolExecutor() as threads:
        keys = list(threads.map(_key, photos))

    def compute(places: Places) -> Iterator[tuple[Places, Features]]:
        place_of = {photos[place]: place for place in places.tolist()}
        reading = Photos(list(place_of), params, PhotoReader.of(backbone.preprocessing, backbone.preprocess))
        done = 0
        for batch in _shown(reading, len(reading), backbone, len(places)):
            features = backbone.features(from_numpy(batch).permute(0, 3, 1, 2)).numpy()
            read = reading.read[done : done + len(features)]
            yield np.array([place_of[path] for path in read]), features
            done += len(features)
        bad.extend(reading.bad)

    values, there = cached(features_dir(), [*_about(backbone), "photos"], keys, compute)
    read = [path for path, is_there in zip(photos, there, strict=True) if is_there]
    return PhotoFeatures(read, _without_gaps(values, there), _all_bad(photos, keys, bad))


def _without_gaps(values: Features, there: NDArray[np.bool_]) -> Features:
    """Return the rows that are there, moved together in place: a copy could fill the memory."""
    end = 0
    for start in range(0, len(values), BLOCK):
        kept = values[start : start + BLOCK][there[start : start + BLOCK]]
        values[end : end + len(kept)] = kept
        end += len(kept)
    return values[:end]


def _key(path: Path) -> bytes:
    """Return the key of an image file; one that cannot be read is reported when it is decoded."""
    try:
        return content_key(path.read_bytes())
    except OSError:
        return content_key(os.fsencode(path))


def _all_bad(photos: Sequence[Path], keys: Sequence[bytes], bad: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Return every file that could not be read, also those that equal one that was tried, in the order of files."""
    key_of = dict(zip(photos, keys, strict=True))
    reasons = {key_of[path]: reason for path, reason in bad}
    return [(path, reasons[key]) for path, key in zip(photos, keys, strict=True) if key in reasons]


def _about(backbone: Backbone) -> list[Any]:
    """Return all that features depend on beside the images: also what changes their rounding."""
    return [
        FORMAT,
        type(backbone).__qualname__,
        backbone.digest,
        torch.__version__,
        backbone.device.type,
        torch.get_num_threads(),
    ]


def _shown(batches: Any, total: int, backbone: Backbone, count: int) -> Any:
    """Return the batches with a progress bar on a terminal."""
    print(f"features: computes those of {count} images with {backbone.name}, which are kept for the next time", flush=True)
    return track(batches, "features", total, console=Console(), transient=True, disable=not sys.stdout.isatty())
