"""Features of images of data/raw before a network's last layer. N images, D features."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.data.bands import shown_image
from darkroom.data.pack import Pack, Rows
from darkroom.explanation.overlay import Picture
from darkroom.inference.embeddings import Embedder
from darkroom.inference.predictor import Predictor
from darkroom.input.dataset import ImageDataset

# Test images whose features are kept.
MOST = 1000


def network_images(predictor: Predictor, pack: Pack, rows: Rows) -> Tensor:
    """Return images of the pack as the network is given them, (N, C, H, W)."""
    return ImageDataset.for_network(pack, predictor.seen, predictor.preprocess).images(0, rows)


def picture_of(image: Tensor) -> Picture:
    """Return what a network was given, (C, H, W), as an image for people to look at, (H, W, 1) or (H, W, 3)."""
    return shown_image(image.permute(1, 2, 0).numpy())


def compute_features(predictor: Predictor, pack: Pack, rows: Rows, batch_size: int) -> NDArray[np.float32]:
    """Return the features (N, D) of rows of the pack.

    Raises
    ------
    InputError
        If the network has no last layer of its own.
    """
    try:
        return Embedder(predictor).of_rows(pack, rows, batch_size)
    except InputError as error:
        if "predict.embeddings" not in str(error):
            raise
        raise InputError(
            f"{predictor.model.name}: its network has no single last layer, so its images have no features; name another"
        ) from None


def evenly(rows: Rows, most: int) -> Rows:
    """Return at most so many of the rows, at equal distances."""
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def write_features(path: Path, predictor: Predictor, pack: Pack, rows: Rows, batch_size: int) -> None:
    """Write ids and features, in float16, of at most `MOST` of the rows, evenly sampled.

    Raises
    ------
    InputError
        If the network has no last layer of its own.
    """
    rows = evenly(rows, MOST)
    # A feature beyond the largest float16 would be infinite, and a map of them impossible.
    largest = float(np.finfo(np.float16).max)
    features = compute_features(predictor, pack, rows, batch_size).clip(-largest, largest).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel(), pa.float16()), features.shape[1])
    table = pa.table({"id": pa.array([pack.ids[row] for row in rows], pa.string()), "features": column})
    with files.replaced_file(path) as temporary:
        pq.write_table(table, temporary)
