"""Features of images of data/raw, kept on disk for the next time, and what those of files share with it. D features."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from darkroom.base import paths
from darkroom.base.errors import counted
from darkroom.data.pack import Pack, Rows
from darkroom.features.backbone import Backbone
from darkroom.features.cache import Features, Places, cached
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import make_loader, num_readers
from darkroom.input.samplers import SequentialBatchSampler

BATCH_SIZE = 32
# Of another one nothing is taken over: it grows when the same weights come to give other features.
FORMAT = 1


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
        for batch in shown(loader, len(loader), backbone, len(places)):
            features = backbone.features(batch["images"]).numpy()
            yield places[done : done + len(features)], features
            done += len(features)

    stored = ["pack", pack.form, pack.channels, pack.resize, pack.dtype]
    return cached(features_dir(), [*about(backbone), *stored], [pack.pixel_hashes[row] for row in rows], compute)[0]


def about(backbone: Backbone) -> list[Any]:
    """Return all that features depend on beside the images: also what changes their rounding."""
    return [
        FORMAT,
        type(backbone).__qualname__,
        backbone.digest,
        torch.__version__,
        backbone.device.type,
        torch.get_num_threads(),
    ]


def shown(batches: Any, total: int, backbone: Backbone, count: int) -> Any:
    """Return the batches with a progress bar on a terminal."""
    print(f"features: computes those of {counted(count, 'image')} with {backbone.name}, kept for the next time", flush=True)
    return track(batches, "features", total, console=Console(), transient=True, disable=not sys.stdout.isatty())
