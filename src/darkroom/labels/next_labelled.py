"""The labelled images that `./darkroom labels next` takes into account: those of data/raw. L images, D features."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.data.labels import clean_name, is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.features.backbone import Backbone
from darkroom.features.extract import pack_features
from darkroom.labels.next_choice import Features, squared_distances

# More of them take minutes, and hardly change what is chosen.
MOST = 5000
# Photos that are compared with the labelled images.
SAMPLE = 500
# Share of the pairs of photos that are less alike. Digits are farther from flowers than any two flowers are; with 0.25, of single
# flowers one in twelve would count as something else.
UNLIKE = 0.05
# Images of the head times classes: more take minutes to fit.
MOST_FITTED = 500_000
# Inverse of the penalty on the weights of the head: the middle one of fit_logistic, which from few labels cannot choose it.
STRENGTH = 100.0


class Predicted(NamedTuple):
    """K classes, and the probabilities (N, K) of photos."""

    classes: list[str]
    probabilities: NDArray[np.float64]


@dataclass(frozen=True)
class Labelled:
    """Images with a label.

    Attributes
    ----------
    values : (L, D) float32
        Of length 1.
    names
        L classes; None of an image that the head is not fitted on.
    """

    values: Features
    names: list[str | None]

    def with_photos(self, values: Features, names: list[str | None]) -> "Labelled":
        """Return these and some photos."""
        return Labelled(np.concatenate([self.values, values]) if len(self.values) else values, [*self.names, *names])

    def predict(self, features: Features, seed: int) -> Predicted | None:
        """Return what a head that is fitted on these says of photos (N, D); None with fewer than two classes."""
        classes = sorted({name for name in self.names if name is not None})
        if len(classes) < 2:
            return None
        from darkroom.transfer.logistic_head import fit_logistic

        rows = np.array([row for row, name in enumerate(self.names) if name is not None])
        rows = np.random.default_rng(seed).permutation(rows)[: max(1000, MOST_FITTED // len(classes))]
        labels = np.array([classes.index(str(self.names[row])) for row in rows])
        head = fit_logistic(self.values[rows], labels, num_classes=len(classes), seed=seed, strength=STRENGTH)
        return Predicted(classes, head.probabilities(features))


def open_raw() -> Pack | None:
    """Return data/raw, None if there is none."""
    return Pack.open(paths.RAW) if (paths.RAW / "dataset.json").is_file() else None


def labelled_images(backbone: Backbone, pack: Pack, known: Rows, photos: Features, seed: int) -> tuple[Labelled | None, str]:
    """Return the labelled images of data/raw, None if they have nothing to do with the photos; and a line that says so.

    Parameters
    ----------
    backbone
        Makes the features.
    pack
        The images.
    known : (n,) int64
        Rows to leave out, whose label the table has.
    photos
        (N, D), of length 1.
    seed
        Of samples.
    """
    if pack.bands is not None:
        return None, "data/raw: has bands that no photo has, and is not taken into account"
    rows = np.setdiff1d(np.arange(len(pack)), known)
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])
    if not len(rows):
        return None, "data/raw: has no other labelled images than the table"
    values = pack_features(backbone, pack, rows)
    if not is_related(photos, values, seed):
        return None, "data/raw: its images show other things than these photos, and are not taken into account"
    test = _test_rows(pack)
    names = [None if row in test or is_multilabel(pack.labels) else clean_name(pack.classes[pack.labels[row]]) for row in rows]
    several = ", whose several labels propose none" if is_multilabel(pack.labels) else ""
    part = f"{len(rows)} of its " if len(rows) < len(pack) - len(known) else ""
    return Labelled(values, names), f"data/raw: {part}{len(pack)} labelled images are taken into account{several}"


def is_related(photos: Features, labelled: Features, seed: int) -> bool:
    """Return whether labelled images show what photos show: the nearest is no farther than photos are from each other."""
    few = photos[np.random.default_rng(seed).permutation(len(photos))[:SAMPLE]]
    if len(few) < 2:
        return True
    pairs = squared_distances(few, few)[np.triu_indices(len(few), 1)]
    nearest = np.full(len(few), np.inf)
    for start in range(0, len(labelled), SAMPLE):
        nearest = np.minimum(nearest, squared_distances(few, labelled[start : start + SAMPLE]).min(axis=1))
    return bool(np.median(nearest) <= np.quantile(pairs, 1 - UNLIKE))


def _test_rows(pack: Pack) -> set[int]:
    """Return the rows of the test split, from which nothing is learned; without a split, there are none."""
    try:
        return set(Split.open(paths.SPLIT, pack).rows["test"].tolist())
    except InputError:
        return set()
