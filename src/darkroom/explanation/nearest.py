"""The training images nearest to others by their features before the last layer. N images, M training images, D features."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files, paths
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.explanation.features import compute_features
from darkroom.inference.predictor import Predictor
from darkroom.models.model_json import data_hashes

# Models whose features are kept.
KEPT = 4
# Images compared with all training images at once.
AT_ONCE = 64


class Neighbour(NamedTuple):
    """A training image near another.

    Attributes
    ----------
    row
        Of the pack.
    similarity
        Cosine of the angle between their features; 1: equal but for their length.
    """

    row: int
    similarity: float


def features_dir() -> Path:
    """Return the folder that keeps features of training images: that of DVC's temporary files, which Git and DVC ignore."""
    return paths.main_repository() / ".dvc" / "tmp" / "darkroom-features"


def training_features(predictor: Predictor, pack: Pack, split: Split, batch_size: int) -> NDArray[np.float32]:
    """Return the features (M, D) of the training images, each of length 1; they are kept for the next time.

    Raises
    ------
    InputError
        If the network has no last layer of its own, or an image is damaged.
    """
    rows, path = split.rows["train"], features_dir() / f"{_key(predictor, pack, split)}.npy"
    found = _kept(path, len(rows))
    if found is None:
        print(f"explain: computes the features of {len(rows)} training images, which are kept for the next time", flush=True)
        # In float16 an image itself would not be the nearest to it.
        found = unit(compute_features(predictor, pack, rows, batch_size))
        with files.replaced_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, found, allow_pickle=False)
        _forget_others(path)
    return found


def unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return features (N, D) divided by their lengths."""
    lengths: NDArray[np.float32] = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32, copy=False)


def find_nearest(
    features: NDArray[np.float32], training: NDArray[np.float32], rows: NDArray[np.int64], count: int
) -> list[list[Neighbour]]:
    """Return the nearest training images of each image, the nearest first.

    Parameters
    ----------
    features
        (N, D).
    training
        (M, D), of length 1.
    rows
        (M,), where they stand in the pack.
    count
        How many.
    """
    found = []
    for start in range(0, len(features), AT_ONCE):
        similarities = unit(features[start : start + AT_ONCE]) @ training.T
        # Stable, so that equal images come in one order everywhere.
        nearest = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
        found += [
            [Neighbour(int(rows[place]), min(1.0, float(each[place]))) for place in places]
            for each, places in zip(similarities, nearest, strict=True)
        ]
    return found


def _key(predictor: Predictor, pack: Pack, split: Split) -> str:
    """Return the hash of all that the features depend on."""
    card = predictor.model.card
    parts = [card.weights_sha256, card.preprocessing.model_dump(mode="json"), data_hashes(pack.directory, split)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _kept(path: Path, count: int) -> NDArray[np.float32] | None:
    """Return what was kept in a file; None if there is none, or it is damaged."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    is_right = isinstance(found, np.ndarray) and found.dtype == np.float32 and found.ndim == 2 and len(found) == count
    return found if is_right else None


def _forget_others(path: Path) -> None:
    """Remove the oldest files beyond `KEPT`; with a wrong clock another one, which is computed anew."""
    others = sorted((each for each in path.parent.glob("*.npy") if each != path), key=lambda each: each.stat().st_mtime)
    for each in others[: max(0, len(others) - KEPT + 1)]:
        each.unlink(missing_ok=True)
