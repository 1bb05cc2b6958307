"""The images whose label is doubtful: another class is more probable, or a near duplicate has another label."""

from dataclasses import dataclass

import numpy as np

from darkroom.base.errors import InputError
from darkroom.base.params import SplitParams
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.labels.confident import Classes, Probabilities, estimate_errors, own_probabilities
from darkroom.splitting.assign import MAX_SET, MAX_SET_FRACTION
from darkroom.splitting.duplicates import Duplicates, connected, find_duplicates
from darkroom.splitting.units import group_names, group_numbers, units_of


@dataclass(frozen=True)
class Suspect:
    """An image whose label is doubtful.

    Attributes
    ----------
    row
        In data/raw.
    id
        Of the image.
    given
        Class that the source says.
    label
        Class that it has in data/raw: another one than `given` if it was corrected.
    proposed
        The most probable class.
    confidence
        Probability of `proposed`, by a classifier that never saw the image.
    own
        Probability of `label`.
    note
        A near duplicate with another label; else empty.
    """

    row: int
    id: str
    given: str
    label: str
    proposed: str
    confidence: float
    own: float
    note: str = ""


@dataclass(frozen=True)
class Suspects:
    """What `./darkroom labels check` found.

    Attributes
    ----------
    found
        The most doubtful first.
    count
        Number of images that were checked.
    estimate
        Estimated number of wrong labels among them.
    unchecked
        Classes of too few images to learn them without one of these.
    """

    found: list[Suspect]
    count: int
    estimate: float
    unchecked: list[str]


@dataclass(frozen=True)
class Units:
    """What is never divided between folds.

    Attributes
    ----------
    numbers : (N,) int64
        The unit of each row: images of a group, and equal and nearly equal ones.
    duplicates
        The pairs that were found.
    """

    numbers: Rows
    duplicates: Duplicates


def find_units(pack: Pack, params: SplitParams) -> Units:
    """Return what stays in one fold, by the settings of the stage split.

    Raises
    ------
    InputError
        If an image may have any number of classes.
    """
    if is_multilabel(pack.labels):
        raise InputError("data/raw: its images may have any number of classes; labels check is for sets of one label per image")
    duplicates = find_duplicates(pack, params.near_distance)
    sets = connected(len(pack), duplicates.pairs)
    if np.bincount(sets).max(initial=0) > max(MAX_SET, MAX_SET_FRACTION * len(pack)):  # they merely look alike
        duplicates = find_duplicates(pack, None)
        sets = connected(len(pack), duplicates.pairs)
    groups = group_numbers(group_names(pack, params.group_pattern))
    return Units(units_of(np.arange(len(pack)), sets, groups), duplicates)


def checked_rows(labels: Classes, units: Rows, num_classes: int) -> tuple[Rows, list[int]]:
    """Return the rows of classes with at least two units, and the labels of the others.

    The only unit of a class is in the fold that it is left out of: a classifier could not know its class.
    """
    pairs = np.unique(np.stack([labels, units], axis=1), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=num_classes)
    return np.flatnonzero(counts[labels] >= 2), np.flatnonzero(counts == 1).tolist()


def find_suspects(pack: Pack, rows: Rows, probabilities: Probabilities, units: Units, unchecked: list[int]) -> Suspects:
    """Return the doubtful images, by the probability of their own label.

    Parameters
    ----------
    pack
        All images.
    rows : (N,) int64
        Those that were checked.
    probabilities : (N, K)
        Out of fold, of the checked ones.
    units, unchecked
        From `find_units` and `checked_rows`.
    """
    labels = np.asarray(pack.labels[rows], np.int64)
    own = own_probabilities(probabilities, labels)
    proposed = probabilities.argmax(axis=1)
    notes = _conflicts(pack, units.duplicates, set(rows.tolist()))
    source = {each["id"]: each["given"] for each in pack.dataset.get("corrected", [])}
    doubtful = (proposed != labels) | np.isin(rows, list(notes))
    order = np.flatnonzero(doubtful)[np.lexsort((rows[doubtful], own[doubtful]))]
    found = []
    for place in order.tolist():
        row, label = int(rows[place]), pack.classes[labels[place]]
        name = pack.ids[row]
        best = int(proposed[place])
        confidence = float(probabilities[place, best])
        note = notes.get(row, "")
        found.append(Suspect(row, name, source.get(name, label), label, pack.classes[best], confidence, float(own[place]), note))
    return Suspects(found, len(rows), estimate_errors(probabilities, labels), [pack.classes[label] for label in unchecked])


def _conflicts(pack: Pack, duplicates: Duplicates, checked: set[int]) -> dict[int, str]:
    """Return a note for each image of a pair of duplicates with different labels; of several pairs for the first."""
    notes: dict[int, str] = {}
    conflicts = duplicates.conflicts(pack.labels)
    for (first, second), distance in zip(duplicates.pairs[conflicts].tolist(), duplicates.distances[conflicts], strict=True):
        kind = "same pixels as" if distance < 0 else "looks like"
        for row, other in ((first, second), (second, first)):
            if row in checked:
                notes.setdefault(row, f"{kind} {pack.ids[other]} ({pack.classes[pack.labels[other]]})")
    return notes
