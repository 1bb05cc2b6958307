"""What photos are compared with: images of data/raw that were drawn as they would be, and are never those of `test`.

R reference images, N photos, D features.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.drift.foreign import distances_out_of_fold
from darkroom.features.backbone import Backbone
from darkroom.features.extract import pack_features
from darkroom.splitting.units import group_names, group_numbers
from darkroom.uncertainty.foreign import fit_directions, training_sample

# More take memory and time with their square.
MOST = 2000
FEWEST = 20

Features = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reference:
    """Images that photos are compared with.

    Attributes
    ----------
    rows : (R,) int64
        Of data/raw; of near duplicates one.
    features : (R, D) float32
        Of length 1.
    is_val : (R,) bool
        Which are of `val`.
    """

    rows: Rows
    features: Features
    is_val: NDArray[np.bool_]


def as_stored(backbone: Backbone, pack: Pack) -> Backbone:
    """Return a backbone that reads photos as if download had packed them; a published model does that by itself."""
    seen = backbone.preprocessing
    if seen.stored is not None:
        return backbone
    stored = {"stored": pack.form, "resize": pack.resize, "dtype": pack.dtype, "bands": pack.bands}
    return replace(backbone, preprocessing=seen.model_copy(update=stored))


def open_reference(backbone: Backbone, pack: Pack, split: Split, kinds: Rows, seed: int, *, is_trained: bool) -> Reference:
    """Return the images of `val`, and those of `train` unless the network was trained on them.

    Parameters
    ----------
    backbone
        Makes the features.
    pack, split
        The data.
    kinds : (M,) int64
        Equal for near duplicates.
    seed
        Of the sample.
    is_trained
        Whether the network was trained on these images: features of training images differ from those of new ones by that alone.

    Raises
    ------
    InputError
        If there are too few images.
    """
    random = np.random.default_rng(seed)
    parts = ("val",) if is_trained else ("val", "train")
    rows = np.concatenate([random.permutation(split.rows[part]) for part in parts])
    # Half of them of val at most: a model is compared on these, all others on both.
    most_val = MOST if is_trained else MOST // 2
    num_val = len(split.rows["val"])
    rows = np.concatenate([rows[: min(num_val, most_val)], rows[num_val:]])
    rows = np.sort(rows[np.sort(np.unique(kinds[rows], return_index=True)[1])[:MOST]])
    if len(rows) < FEWEST:
        where = "validation images of data/split" if is_trained else "images of data/split"
        raise InputError(f"data/split: has {len(rows)} different {where} to compare with, but {FEWEST} are needed; add images")
    return Reference(rows, pack_features(backbone, pack, rows), np.isin(rows, split.rows["val"]))


def measure_distances(
    backbone: Backbone, pack: Pack, split: Split, reference: Reference, photos: Features, params: Params, *, is_trained: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far reference images (R,) and photos (N,) are from the classes, to which neither contributed."""
    # Of several labels an image is of no one class: then the distance is from all images.
    labels = np.zeros(len(pack), np.int64) if is_multilabel(pack.labels) else np.asarray(pack.labels, np.int64)
    if is_trained:
        train = split.rows["train"]
        sample = train[training_sample(labels[train], len(pack.classes))]
        detector = fit_directions(pack_features(backbone, pack, sample), labels[sample])
        return detector.raw(reference.features), detector.raw(photos)
    groups = group_numbers(group_names(pack, params.split.group_pattern))
    units = reference.rows if groups is None else groups[reference.rows]
    mixed = np.random.default_rng(params.base.seed).permutation(units.max() + 1)[units]
    return distances_out_of_fold(reference.features, labels[reference.rows], mixed, photos)
