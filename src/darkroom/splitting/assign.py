"""The split of every image: duplicates and groups stay on one side, splits of the source are kept, missing ones are made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.base.params import SplitParams
from darkroom.data.labels import count_labels, is_multilabel
from darkroom.data.listing import SPLITS
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import LEFT_OUT
from darkroom.splitting.duplicates import Duplicates, connected, find_duplicates
from darkroom.splitting.needed import check_enough
from darkroom.splitting.stable import split_by_content
from darkroom.splitting.stratified import split_stratified
from darkroom.splitting.units import group_names, group_numbers

# The test set is never changed; no image that selects the epoch is trained on.
PRIORITY = ("test", "val", "train")
# If near duplicates join more images than both of these into one set, the threshold is too high.
MAX_SET, MAX_SET_FRACTION = 100, 0.2


@dataclass(frozen=True)
class Assignment:
    """The split of every image of a pack.

    Attributes
    ----------
    splits : (N,) str
        `train`, `val`, `test` or `left_out`.
    folds : (N,) int64
        Fold of each training image if `split.folds` is set, else -1.
    duplicates
        The duplicates that were found.
    """

    splits: NDArray[np.str_]
    folds: NDArray[np.int64]
    duplicates: Duplicates


def assign_splits(pack: Pack, params: SplitParams, seed: int) -> Assignment:
    """Assign every image to a split: the source's own val and test are kept, missing ones are taken from its train.

    `seed` is `base.seed`, which `split.seed` takes the place of.

    Groups stay in one split, and so do duplicates unless they are only reported. A duplicate of an image of the source's own
    val or test is left out of train, a duplicate of a test image is left out of val. The source's test set is never changed.

    Raises
    ------
    InputError
        If a class has too few images for every split, a group of the source is in two of its splits, or duplicates are not
        allowed.
    """
    seed = params.seed_or(seed)
    if not (pack.splits == "train").any():
        raise InputError("data/raw: the source has no images to train on, only some of val or test; name its training images")
    duplicates = find_duplicates(pack, params.near_distance)
    sets = _sets(pack, duplicates, params)
    splits: NDArray[np.str_] = pack.splits.astype("<U8")
    names = group_names(pack, params.group_pattern)
    groups = group_numbers(names)
    _check_groups(pack, groups)
    _leave_out(splits, sets)
    if params.duplicates == "drop":
        _drop_repeats(splits, sets)
    if params.folds is not None and (splits == "val").any():
        raise InputError("params.yaml: split.folds: the source has its own validation set; set it to null")
    train = np.flatnonzero(splits == "train")
    units = sets if groups is None else groups
    check_enough(pack, train, units, params, grouped=groups is not None and not is_multilabel(pack.labels))
    if params.method == "stable":
        splits, folds = split_by_content(pack, splits, names, params, seed)
        _leave_out(splits, sets)
    else:
        splits, folds = split_stratified(pack, splits, sets, groups, params, seed)
    _check_every_class(pack, splits, params)
    return Assignment(splits, folds, duplicates)


def _sets(pack: Pack, duplicates: Duplicates, params: SplitParams) -> Rows:
    """Return the number of the set of duplicates that each row belongs to; if duplicates are only reported, each row is alone."""
    found = len(duplicates.pairs)
    if found and params.duplicates == "fail":
        first, second = (pack.ids[row] for row in duplicates.pairs[0])
        kind = "has the same pixels as" if duplicates.distances[0] < 0 else "looks like"
        raise InputError(
            f"data/raw: '{second}' {kind} '{first}' ({found} duplicate pair(s) in all), but split.duplicates is fail; "
            "remove the duplicates, or set split.duplicates to group, drop or report"
        )
    if params.duplicates == "report":
        return np.arange(len(pack))
    sets = connected(len(pack), duplicates.pairs)
    largest = int(np.bincount(sets).max(initial=0))
    if largest > max(MAX_SET, MAX_SET_FRACTION * len(pack)) and (duplicates.distances >= 0).any():
        raise InputError(
            f"params.yaml: split.near_distance: at {params.near_distance} bits, {largest} of {len(pack)} images are one set of "
            "near duplicates; lower it, or set it to null if all images look alike"
        )
    return sets


def _check_groups(pack: Pack, groups: Rows | None) -> None:
    if groups is None:
        return
    _, firsts, inverse = np.unique(groups, return_index=True, return_inverse=True)
    torn = np.flatnonzero(pack.splits[firsts[inverse]] != pack.splits)
    if len(torn):
        one, other = int(firsts[inverse][torn[0]]), int(torn[0])
        raise InputError(
            f"data/raw: '{pack.ids[one]}' and '{pack.ids[other]}' are in one group, but in {pack.splits[one]} and "
            f"{pack.splits[other]} of the source ({len(torn)} such image(s)); correct the source, or use it without its splits "
            "or without its groups (of a table: set download.columns.split or group to false)"
        )


def _leave_out(splits: NDArray[np.str_], sets: Rows) -> None:
    """Leave out duplicates of images of a split that comes earlier in PRIORITY."""
    held = np.zeros(int(sets.max(initial=0)) + 1, np.bool_)
    for name in PRIORITY:
        members = splits == name
        splits[members & held[sets]] = LEFT_OUT
        held[sets[members]] = True


def _drop_repeats(splits: NDArray[np.str_], sets: Rows) -> None:
    """Keep one image of each set of duplicates in train and in val; the source's test set stays as it is."""
    for name in ("val", "train"):
        rows = np.flatnonzero(splits == name)
        _, firsts = np.unique(sets[rows], return_index=True)
        splits[np.delete(rows, firsts)] = LEFT_OUT


def _check_every_class(pack: Pack, splits: NDArray[np.str_], params: SplitParams) -> None:
    for split in SPLITS:
        label = int(count_labels(pack.labels[splits == split], len(pack.classes)).argmin())
        if _holds(pack, splits == split, label):
            continue
        twins = _holds(pack, (splits == LEFT_OUT) & (pack.splits == split), label)
        but = " except duplicates, which are left out" if twins else ""
        advice = "or remove the class"
        if not (pack.splits == split).any():
            folds = split == "val" and params.folds is not None
            advice = "remove the class, or " + ("lower split.folds" if folds else f"raise split.{split}_fraction")
        raise InputError(f"data/split: class '{pack.classes[label]}' has no image in {split}{but}; add images of it, {advice}")


def _holds(pack: Pack, chosen: NDArray[np.bool_], label: int) -> bool:
    """Return whether a class has images among the chosen (N,)."""
    return bool(count_labels(pack.labels[chosen], len(pack.classes))[label])
