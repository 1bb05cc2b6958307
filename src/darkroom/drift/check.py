"""`./darkroom drift`: reads photos and reference images alike, compares them, and says which photos are foreign. N photos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from darkroom.base import paths
from darkroom.base.errors import InputError, listed, warn
from darkroom.base.params import Params
from darkroom.data.listing import printable
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.drift import properties
from darkroom.drift.class_mix import ClassShare, estimate_shares
from darkroom.drift.foreign import ForeignPhotos, find_foreign
from darkroom.drift.judgement import FEWEST_PHOTOS, Judgement, judge
from darkroom.drift.measured import Measured, Outputs
from darkroom.drift.outputs import FEWEST_VAL, model_outputs
from darkroom.drift.reference import Reference, as_stored, measure_distances, open_reference
from darkroom.features.backbone import Backbone, open_backbone
from darkroom.features.photos import PhotoFeatures, photo_features
from darkroom.labels.alike import Kinds, find_kinds
from darkroom.prediction.find_photos import find_photos, without_arrays

if TYPE_CHECKING:
    from darkroom.models.saving import Published


@dataclass(frozen=True, eq=False)
class Drift:
    """What was found.

    Attributes
    ----------
    judgement
        Whether there is drift.
    paths
        The N photos that could be read.
    distances : (N,) float64
        From the nearest class.
    foreign
        Which photos are foreign, and how many.
    same_as
        The image of data/raw that a photo equals, or nearly so; else empty.
    predicted, confidence
        By the model; None without one.
    shares
        Estimated shares of the classes; None without a model, or of several labels.
    notes
        What was left out, and why.
    """

    judgement: Judgement
    paths: list[Path]
    distances: NDArray[np.float64]
    foreign: ForeignPhotos
    same_as: list[str]
    predicted: list[str] | None
    confidence: NDArray[np.float64] | None
    shares: list[ClassShare] | None
    notes: list[str]


def find_drift(folder: Path, params: Params, open_model: "Callable[[], Published] | None", backbone: str | None = None) -> Drift:
    """Compare the photos of a folder with the images of data/raw.

    Parameters
    ----------
    folder
        Photos, also in folders inside it.
    params
        Sections `base`, `split`, `predict`, `train` and `hardware`.
    open_model
        Opens the model whose confidence and classes are compared; None: they are not.
    backbone
        A network of timm, or the folder of a published model; None: the best one that is installed.

    Raises
    ------
    InputError
        If there are too few photos or images, no such network, or the model was trained on other data.
    """
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    pack.withhold(split.rows["test"])
    is_trained = backbone is not None and Path(backbone).is_dir()
    opened = as_stored(
        open_backbone(backbone, hardware=params.hardware, channels=pack.channels, threads=params.train.threads), pack
    )
    found = _read(opened, folder, params)
    ids = [printable(path.relative_to(folder).as_posix()) for path in found.paths]
    kinds = find_kinds(found.hashes, ids, pack, params.split.near_distance)
    notes: list[str] = []
    kept = _compared(kinds, folder, notes)
    reference = open_reference(opened, pack, split, kinds.raw, params.base.seed, is_trained=is_trained)
    own, distances = measure_distances(opened, pack, split, reference, found.values, params, is_trained=is_trained)
    of_reference = Measured(reference.features, own, *properties.of_pack(opened, pack, reference.rows))
    of_photos = Measured(found.values, distances, *properties.of_photos(pack, found.paths, found.appearance))
    outputs = _outputs(open_model, pack, split, reference, found, params, notes)
    judged = outputs and (outputs[0], outputs[1].take(kept))
    classes = pack.classes if split.task == "multiclass" else []
    shares = None
    if outputs and classes:
        labels = np.asarray(pack.labels[reference.rows[reference.is_val]], np.int64)
        shares = estimate_shares(classes, labels, outputs[0].predicted, outputs[1].predicted[kept], params.base.seed)
    return Drift(
        judge(of_reference, of_photos.take(kept), params.base.seed, judged, classes),
        found.paths,
        distances,
        find_foreign(own, distances),
        _same_as(kinds, pack),
        [classes[label] for label in outputs[1].predicted.tolist()] if outputs and classes else None,
        outputs[1].confidence if outputs else None,
        shares,
        notes,
    )


def _read(backbone: Backbone, folder: Path, params: Params) -> PhotoFeatures:
    """Return the photos; those that cannot be read are left out with a warning."""
    photos = find_photos([folder])
    if backbone.preprocessing.bands is None:
        photos = without_arrays(photos, [folder])
    if len(photos) < FEWEST_PHOTOS:
        raise InputError(_too_few(folder, f"holds {len(photos)} photo(s)"))
    found = photo_features(backbone, photos, params.predict)
    if found.bad:
        named = listed(f"'{printable(path.name)}' {reason}" for path, reason in found.bad)
        warn(f"{folder}: {len(found.bad)} photo(s) cannot be read and are left out: {named}")
    return found


def _compared(kinds: Kinds, folder: Path, notes: list[str]) -> NDArray[np.int64]:
    """Return the photos that the tests take: none that data/raw has, and one of those that are alike; append what is left out."""
    is_known = np.isin(kinds.photos, kinds.raw)
    new = np.flatnonzero(~is_known)
    kept = np.sort(new[np.unique(kinds.photos[new], return_index=True)[1]])
    if is_known.any():
        notes.append(f"{int(is_known.sum())} photo(s) are in data/raw already, or nearly so, and are not compared")
    if twins := len(new) - len(kept):
        notes.append(f"{twins} near duplicate(s) are not compared beside their twins")
    if len(kept) < FEWEST_PHOTOS:
        raise InputError(_too_few(folder, f"holds {len(kept)} photo(s) that are new and unlike each other, of {len(is_known)}"))
    return kept


def _too_few(folder: Path, what: str) -> str:
    return f"{folder}: {what}, too few to tell drift from chance; give at least {FEWEST_PHOTOS}"


def _outputs(
    open_model: "Callable[[], Published] | None",
    pack: Pack,
    split: Split,
    reference: Reference,
    found: PhotoFeatures,
    params: Params,
    notes: list[str],
) -> tuple[Outputs, Outputs] | None:
    """Return what the model says of validation images and of photos; append why if it is not asked."""
    rows = reference.rows[reference.is_val]
    if open_model is None:
        notes.append("confidence and classes are not compared, since models/ holds no model; 'dvc repro' trains one")
        return None
    if len(rows) < FEWEST_VAL:
        notes.append(f"confidence and classes are not compared, since data/split has {len(rows)} validation images alone")
        return None
    return model_outputs(open_model, pack, split, rows, found.paths, params)


def _same_as(kinds: Kinds, pack: Pack) -> list[str]:
    """Return for each photo the first image of data/raw that is of its kind; else an empty text."""
    values, rows = np.unique(kinds.raw, return_index=True)
    first: dict[int, int] = dict(zip(values.tolist(), rows.tolist(), strict=True))
    return [pack.ids[first[kind]] if kind in first else "" for kind in kinds.photos.tolist()]


def in_order(drift: Drift) -> Sequence[int]:
    """Return the places of the photos, the most foreign first."""
    places: list[int] = np.argsort(-drift.distances, kind="stable").tolist()
    return places
