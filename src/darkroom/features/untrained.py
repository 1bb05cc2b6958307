"""Features of images by a pretrained network, as predictions without classes: before any training. N images, D features."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.base import paths
from darkroom.base.params import Params
from darkroom.data.listing import printable
from darkroom.features.backbone import Backbone
from darkroom.features.extract import pack_features
from darkroom.features.photos import photo_features
from darkroom.inference.photos import check_bad
from darkroom.prediction.embeddings_file import Embeddings, FeaturesOf
from darkroom.prediction.find_photos import find_photos, without_arrays
from darkroom.prediction.inputs import described_rows, is_test_split, read_test_split
from darkroom.prediction.predictions import Predictions

# Images whose features are given on together.
AT_ONCE = 1000


def features_of(backbone: Backbone) -> FeaturesOf:
    """Return what the features of a pretrained network are of."""
    return FeaturesOf(backbone.name, backbone.name, backbone.digest, unit_length=True)


def iterate_features(backbone: Backbone, chosen: Sequence[str | Path], params: Params) -> Iterator[Predictions]:
    """Yield predictions with embeddings and without classes, some images at a time; what was computed is kept.

    Parameters
    ----------
    backbone
        The network.
    chosen
        Images and folders of them, or data/split alone for its test split.
    params
        All of params.yaml.

    Raises
    ------
    InputError
        If one of the images does not exist or cannot be read.
    """
    if is_test_split(chosen):
        pack, split, _ = read_test_split()
        rows = split.rows["test"]
        values = pack_features(backbone, pack, rows)
        described = [described_rows(pack, rows[start : start + AT_ONCE]) for start in range(0, len(rows), AT_ONCE)]
    else:
        found = find_photos(chosen)
        if backbone.preprocessing.bands is None:
            found = without_arrays(found, chosen)
        photos = photo_features(backbone, found, params.predict)
        check_bad(photos.bad, params.predict.max_bad)
        values = photos.values
        shown = [printable(paths.shown(path)) for path in photos.paths]
        described = [{"paths": shown[start : start + AT_ONCE]} for start in range(0, len(shown), AT_ONCE)]
    done = 0
    for each in described or [dict[str, Any](paths=[])]:
        part = values[done : done + len(each["paths"])]
        done += len(part)
        yield Predictions([], **each, probabilities=np.zeros((len(part), 0)), embeddings=Embeddings(part, features_of(backbone)))
