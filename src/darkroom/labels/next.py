"""`./darkroom labels next`: features of the photos of a folder, what is known of them, and those that are worth a label."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.base import paths
from darkroom.base.errors import InputError, listed, warn
from darkroom.base.params import Params
from darkroom.data.listing import printable
from darkroom.data.pack import Pack, Rows
from darkroom.features.backbone import Backbone, open_backbone
from darkroom.features.photos import PhotoFeatures, photo_features
from darkroom.labels.alike import Kinds, find_kinds
from darkroom.labels.next_choice import choose, uncertainties
from darkroom.labels.next_labelled import Labelled, Predicted, labelled_images
from darkroom.labels.next_table import AskedTable, path_cell
from darkroom.prediction.find_photos import find_photos, without_arrays
from darkroom.splitting.needed import too_few

TYPICAL, UNCERTAIN = "typical", "uncertain"
# Where the two most probable classes are nearer than this, the class of a photo is uncertain.
MARGIN = 0.5


@dataclass(frozen=True)
class Asked:
    """A photo that is worth a label.

    Attributes
    ----------
    path
        Its file.
    proposed
        The most probable class; empty where too few labels are known.
    probability
        Of it; None likewise.
    why
        `typical`: it stands for many photos; `uncertain`: so it does, and its class is in doubt.
    """

    path: Path
    proposed: str
    probability: float | None
    why: str


@dataclass(frozen=True)
class Round:
    """What is asked for.

    Attributes
    ----------
    photos
        The most useful first.
    available
        Number of photos that could have been asked for.
    notes
        What was taken into account, and what was not.
    """

    photos: list[Asked]
    available: int
    notes: list[str]


def next_photos(
    folder: Path, table: AskedTable, count: int, params: Params, *, pack: Pack | None = None, backbone: str | None = None
) -> Round:
    """Return the photos of a folder that are worth a label.

    Parameters
    ----------
    folder
        An absolute path.
    table
        What was asked for before.
    count
        Number of photos.
    params
        Sections `base`, `split`, `predict`, `train` and `hardware`: seed, near duplicates, limits, threads, device.
    pack
        data/raw, None without it.
    backbone
        A network of timm, or the folder of a published model; None: the best one that is installed.

    Raises
    ------
    InputError
        If there are fewer photos without a label, or no such network.
    Interrupted
        Once the features so far are kept.
    """
    opened = open_backbone(backbone, hardware=params.hardware, threads=params.train.threads)
    found = _read(opened, folder, table, params)
    asked, notes, seed = table.photos, list[str](), params.base.seed
    labels = [asked.get(path) for path in found.paths]
    ids = [printable(path.relative_to(folder).as_posix()) for path in found.paths]
    kinds = find_kinds(found.hashes, ids, pack, params.split.near_distance)
    available = _available(labels, kinds, notes)
    notes += [f"{paths.shown(table.out)}: {line}" for line in too_few(_counts(labels, kinds), params.split)]
    if count > len(available):
        raise InputError(_too_few(count, len(available), folder))
    labelled = _own(found, labels, table, notes)
    if pack is not None:
        known = np.flatnonzero(np.isin(kinds.raw, kinds.photos[[bool(label) for label in labels]]))
        of_raw, line = labelled_images(opened, pack, known, found.values, seed)
        labelled = labelled if of_raw is None else of_raw.with_photos(labelled.values, labelled.names)
        notes.append(line)
    features = found.values[available]
    predicted = labelled.predict(features, seed)
    doubts = np.ones(len(available), np.float32) if predicted is None else uncertainties(predicted.probabilities)
    chosen = choose(features, labelled.values, doubts, count, seed=seed)
    photos = [_asked(found.paths[available[row]], row, predicted) for row in chosen.tolist()]
    return Round(photos, len(available), notes)


def _read(backbone: Backbone, folder: Path, table: AskedTable, params: Params) -> PhotoFeatures:
    """Return the features of the photos; those that cannot be named in the table, or read, are left out with a warning."""
    photos, unnamed = [], []
    for path in without_arrays(find_photos([folder], [table.out]), [folder]):
        try:
            path_cell(table, path)
            photos.append(path)
        except ValueError:
            unnamed.append(printable(str(path)))
    if unnamed:
        warn(f"{folder}: {len(unnamed)} photo(s) whose names are not UTF-8 are left out: {listed(unnamed)}; rename them")
    found = photo_features(backbone, photos, params.predict)
    if not found.paths:
        reason = f"; {found.bad[0][0].name}: {found.bad[0][1]}" if found.bad else ""
        raise InputError(f"{folder}: none of its {len(photos)} photo(s) can be read{reason}; name another folder")
    if found.bad:
        named = listed(f"'{printable(path.name)}' {reason}" for path, reason in found.bad)
        warn(f"{folder}: {len(found.bad)} photo(s) cannot be read and are left out: {named}")
    return found


def _available(labels: Sequence[str | None], kinds: Kinds, notes: list[str]) -> Rows:
    """Return the photos that may be asked for, the first of each kind; append what is not."""
    was_asked = np.array([label is not None for label in labels])
    is_known = np.isin(kinds.photos, kinds.raw) | np.isin(kinds.photos, kinds.photos[was_asked])
    free = np.flatnonzero(~is_known)
    available = np.sort(free[np.unique(kinds.photos[free], return_index=True)[1]])
    alike, twins = int((is_known & ~was_asked).sum()), len(free) - len(available)
    if alike:
        notes.append(f"{alike} photo(s) are in data/raw already, or near duplicates of what was asked before")
    if twins:
        notes.append(f"{twins} near duplicate(s) are not asked for beside their twins")
    return available


def _counts(labels: Sequence[str | None], kinds: Kinds) -> Counter[str]:
    """Return how many distinct photos of each class have a label; near duplicates stay together in a split."""
    distinct = {(label, int(kind)) for label, kind in zip(labels, kinds.photos, strict=True) if label}
    return Counter(label for label, _ in distinct)


def _too_few(count: int, available: int, folder: Path) -> str:
    if not available:
        return f"{paths.shown(folder)}: every photo has a label, or was asked for; fill in the table, or add photos"
    return f"--count: is {count}, but {available} photo(s) of {paths.shown(folder)} can be asked for; give at most {available}"


def _own(found: PhotoFeatures, labels: Sequence[str | None], table: AskedTable, notes: list[str]) -> Labelled:
    """Return the photos of the table; those without a label yet are not asked for again, either."""
    rows = [row for row, label in enumerate(labels) if label is not None]
    names = [labels[row] or None for row in rows]
    if waiting := len(names) - sum(map(bool, names)):
        notes.append(f"{paths.shown(table.out)}: {waiting} row(s) of earlier rounds have no label yet")
    if missing := len(table.rows) - len(rows):
        notes.append(f"{paths.shown(table.out)}: {missing} row(s) name photos that are not in the folder, or cannot be read")
    return Labelled(found.values[rows], names)


def _asked(path: Path, row: int, predicted: Predicted | None) -> Asked:
    if predicted is None:
        return Asked(path, "", None, TYPICAL)
    probabilities = predicted.probabilities[row : row + 1]
    best = int(probabilities.argmax())
    is_uncertain = bool(uncertainties(probabilities)[0] > 1 - MARGIN)
    return Asked(path, predicted.classes[best], float(probabilities[0, best]), UNCERTAIN if is_uncertain else TYPICAL)
