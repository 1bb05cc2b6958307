"""Deciding which images train, validate and test: what must not be divided, what the source has decided, and the rest."""

import hashlib
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from darkroom.data.duplicates import Duplicates, connected, find_duplicates
from darkroom.data.labels import Labels, count_labels, is_multilabel
from darkroom.data.listing import SPLITS
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import LEFT_OUT, NO_FOLD, Division
from darkroom.errors import InputError
from darkroom.params import SplitParams

# What is tested on is never altered, and what chooses the epoch is not trained on.
PRIORITY = ("test", "val", "train")
# A threshold that joins more of the images than this, and so many, has not found copies but what all images have in common.
MAX_SET, MAX_SET_FRACTION = 100, 0.2
# Groups are divided in parts of at least 1/20.
FINEST = 20


def divide(pack: Pack, params: SplitParams, seed: int) -> Division:
    """Name the split of every image: the source's own val and test are kept, missing ones are carved from its train.

    Duplicates, unless they are only to be reported, and groups stand on one side. An image of train that is the same as one of
    the source's own val or test is left out of train, one of val that is the same as one of test is left out of val. The
    source's test set is never altered.

    Raises
    ------
    InputError
        If a class has too few images to stand in every split, a group of the source stands in two of its splits, or duplicates
        are not allowed.
    """
    duplicates = find_duplicates(pack, params.near_distance)
    sets = _sets(pack, duplicates, params)
    splits: NDArray[np.str_] = pack.splits.astype("<U8")
    names = _group_names(pack, params.group_pattern)
    groups = _numbered(names)
    _check_groups(pack, groups)
    _leave_out(splits, sets)
    if params.duplicates == "drop":
        _drop_repeats(splits, sets)
    folds = np.full(len(pack), NO_FOLD)
    if params.method == "stable":
        _divide_by_content(pack, splits, folds, names, params, seed)
        _leave_out(splits, sets)
    else:
        _divide_by_chance(pack, splits, folds, sets, groups, params, seed)
    _check_every_class(pack, splits, params)
    return Division(splits, folds, duplicates)


def _sets(pack: Pack, duplicates: Duplicates, params: SplitParams) -> Rows:
    """Return the number of the set of same images that each row belongs to; every row its own if they may be divided."""
    found = len(duplicates.pairs)
    if found and params.duplicates == "fail":
        first, second = (pack.ids[row] for row in duplicates.pairs[0])
        kind = "has the pixels of" if duplicates.distances[0] < 0 else "looks like"
        raise InputError(
            f"data/raw: '{second}' {kind} '{first}' ({found} such pair(s)), but split.duplicates is fail; remove them, "
            "or set split.duplicates to group, drop or report"
        )
    if params.duplicates == "report":
        return np.arange(len(pack))
    sets = connected(len(pack), duplicates.pairs)
    largest = int(np.bincount(sets).max(initial=0))
    if largest > max(MAX_SET, MAX_SET_FRACTION * len(pack)) and (duplicates.distances >= 0).any():
        raise InputError(
            f"params.yaml: split.near_distance: {params.near_distance} bits join {largest} of {len(pack)} images into one set "
            "of near duplicates; lower it, or set it to null if all images look alike"
        )
    return sets


def _group_names(pack: Pack, pattern: str | None) -> list[str | None]:
    """Return the group of each row, as the source or the pattern has it."""
    if pattern is None:
        return pack.groups
    found = [re.search(pattern, name) for name in pack.ids]
    missing = next((name for name, match in zip(pack.ids, found, strict=True) if not match), None)
    if missing is not None:
        raise InputError(f"params.yaml: split.group_pattern: '{missing}' does not match {pattern}; write one that all match")
    return [match and match[1] for match in found]


def _numbered(names: list[str | None]) -> Rows | None:
    """Return the number of each row's group, those of none being alone; None if there are no groups."""
    if all(name is None for name in names):
        return None
    # Keys of two types, so that no name is taken for a row.
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(row if name is None else name, len(numbers)) for row, name in enumerate(names)])


def _check_groups(pack: Pack, groups: Rows | None) -> None:
    if groups is None:
        return
    _, firsts, inverse = np.unique(groups, return_index=True, return_inverse=True)
    torn = np.flatnonzero(pack.splits[firsts[inverse]] != pack.splits)
    if len(torn):
        one, other = int(firsts[inverse][torn[0]]), int(torn[0])
        raise InputError(
            f"data/raw: '{pack.ids[one]}' and '{pack.ids[other]}' are of one group, but of {pack.splits[one]} and "
            f"{pack.splits[other]} in the source ({len(torn)} such image(s)); correct it, or leave out its splits or its groups"
        )


def _leave_out(splits: NDArray[np.str_], sets: Rows) -> None:
    """Leave out what is the same as an image of a split that matters more."""
    held = np.zeros(int(sets.max(initial=0)) + 1, np.bool_)
    for name in PRIORITY:
        members = splits == name
        splits[members & held[sets]] = LEFT_OUT
        held[sets[members]] = True


def _drop_repeats(splits: NDArray[np.str_], sets: Rows) -> None:
    """Keep the first of every set in train and val; a test set of the source is kept as it is."""
    for name in ("val", "train"):
        rows = np.flatnonzero(splits == name)
        _, firsts = np.unique(sets[rows], return_index=True)
        splits[np.delete(rows, firsts)] = LEFT_OUT


def _divide_by_chance(
    pack: Pack,
    splits: NDArray[np.str_],
    folds: NDArray[np.int64],
    sets: Rows,
    groups: Rows | None,
    params: SplitParams,
    seed: int,
) -> None:
    """Carve what is missing, stratified by label; `splits` and `folds` are changed in place."""
    train = np.flatnonzero(splits == "train")
    carver = _Carver(pack, _units(train, sets, groups), groups, seed)
    # Fractions are of the different images that the source calls train, before anything was carved from them.
    different = carver.count(train)
    if not (splits == "test").any():
        splits[carver.carve(train, params.test_fraction, different, "split.test_fraction")] = "test"
        train = np.flatnonzero(splits == "train")
    if params.folds is not None:
        _check_no_val(splits)
        folds[train] = carver.folds(train, params.folds)
        splits[folds == params.fold] = "val"
    elif not (splits == "val").any():
        splits[carver.carve(train, params.val_fraction, different, "split.val_fraction")] = "val"


def _units(train: Rows, sets: Rows, groups: Rows | None) -> Rows:
    """Return the number of what must stay together, sets and groups and what they connect; rows outside train are alone."""
    if groups is None:
        return sets
    pairs = []
    for numbers in (sets, groups):
        _, firsts, inverse = np.unique(numbers[train], return_index=True, return_inverse=True)
        pairs.append(np.stack([train[firsts[inverse]], train], axis=1))
    return connected(len(sets), np.concatenate(pairs))


@dataclass(frozen=True)
class _Carver:
    """Takes parts of rows by chance, stratified by label, every unit inside or outside as a whole."""

    pack: Pack
    units: Rows
    groups: Rows | None
    seed: int

    def count(self, rows: Rows) -> int:
        return len(np.unique(self.units[rows]))

    def carve(self, rows: Rows, fraction: float, whole: int, key: str) -> Rows:
        """Return about `fraction` of `whole` units' rows."""
        firsts = self._firsts(rows)
        count = round(fraction * whole)
        rest = len(firsts) - count
        if self._divides_groups:
            part = Fraction(fraction * whole / len(firsts)).limit_denominator(FINEST)
            part = min(max(part, Fraction(1, FINEST)), Fraction(FINEST - 1, FINEST))
            return rows[self._group_folds(rows, part.denominator, key) < part.numerator]
        labels = self._unit_labels(rows, firsts)
        self._check_classes(labels)
        if min(count, rest) < len(self.pack.classes) and not is_multilabel(labels):
            which = f"gives {count} of {len(firsts)}" if count < rest else f"leaves {rest} of {len(firsts)}"
            raise InputError(
                f"params.yaml: {key}: {which} images, fewer than one for each of the {len(self.pack.classes)} classes; "
                f"{'raise' if count < rest else 'lower'} it, or add images"
            )
        if min(count, rest) < 1:
            raise InputError(f"params.yaml: {key}: gives {count} of {len(firsts)} images or groups; change it, or add some")
        carved = firsts[_carved(labels, count, self.seed)]
        return rows[np.isin(self.units[rows], self.units[carved])]

    def folds(self, rows: Rows, count: int) -> NDArray[np.int64]:
        """Return the fold, from 0, of each row."""
        if self._divides_groups:
            return self._group_folds(rows, count, "split.folds")
        firsts = self._firsts(rows)
        labels = self._unit_labels(rows, firsts)
        name, least = self._rarest(labels)
        if least < count:
            raise InputError(
                f"params.yaml: split.folds: is {count}, but class '{name}' has {least} different image(s) to train on; "
                "lower it, or add images"
            )
        fold_of = np.full(len(self.units), NO_FOLD)
        fold_of[self.units[firsts]] = _folds(labels, count, self.seed)
        return fold_of[self.units[rows]]

    @property
    def _divides_groups(self) -> bool:
        # With several labels groups are divided like images, each with all the labels of its members.
        return self.groups is not None and not is_multilabel(self.pack.labels)

    def _group_folds(self, rows: Rows, count: int, key: str) -> NDArray[np.int64]:
        from sklearn.model_selection import StratifiedGroupKFold

        available = self.count(rows)
        if available < count:
            groups = len(np.unique(self.groups[rows])) if self.groups is not None else 0
            shared = " (more, but they share images; split.duplicates: drop keeps one of each)" if groups > available else ""
            raise InputError(
                f"params.yaml: {key}: needs {count} parts, but the training images are of {available} group(s){shared}, which "
                "are not divided; choose a larger fraction, fewer folds, or add groups"
            )
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=self.seed)
        # That a class has few members is told, with its name, once the parts are known.
        return _parts(splitter.split(rows, self.pack.labels[rows], self.units[rows]), len(rows))

    def _firsts(self, rows: Rows) -> Rows:
        _, places = np.unique(self.units[rows], return_index=True)
        return rows[np.sort(places)]

    def _unit_labels(self, rows: Rows, firsts: Rows) -> Labels:
        """Return the labels of the units whose first rows are given; in a multilabel set of all their images."""
        if not is_multilabel(self.pack.labels):
            return self.pack.labels[firsts]
        labels = np.zeros((len(firsts), len(self.pack.classes)), np.uint8)
        place = np.full(len(self.units), NO_FOLD)
        place[self.units[firsts]] = np.arange(len(firsts))
        np.maximum.at(labels, place[self.units[rows]], self.pack.labels[rows])
        return labels

    def _check_classes(self, labels: Labels) -> None:
        name, count = self._rarest(labels)
        if count < 2:
            others = "" if count else ": all that it has in train stand in val or test as well"
            raise InputError(f"data/raw: class '{name}' has {count} different image(s) to split{others}; add some, or remove it")

    def _rarest(self, labels: Labels) -> tuple[str, int]:
        present = count_labels(labels, len(self.pack.classes))
        return self.pack.classes[int(present.argmin())], int(present.min())


def _carved(labels: Labels, count: int, seed: int) -> Rows:
    """Return `count` places of labels, stratified."""
    if is_multilabel(labels):
        from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

        splitter = MultilabelStratifiedShuffleSplit(1, test_size=count, random_state=seed)
        return next(splitter.split(labels, labels))[1]  # type: ignore[no-any-return]
    from sklearn.model_selection import train_test_split

    carved: Rows = train_test_split(np.arange(len(labels)), test_size=count, stratify=labels, random_state=seed)[1]
    return carved


def _folds(labels: Labels, count: int, seed: int) -> NDArray[np.int64]:
    """Return the fold, from 0, of each label, stratified."""
    if is_multilabel(labels):
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

        splitter = MultilabelStratifiedKFold(count, shuffle=True, random_state=seed)
    else:
        from sklearn.model_selection import StratifiedKFold

        splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return _parts(splitter.split(labels, labels), len(labels))


def _parts(divided: Iterable[tuple[Rows, Rows]], count: int) -> NDArray[np.int64]:
    """Return the number of the part, of those that scikit-learn's splitters give as their second, in which each place stands."""
    parts = np.full(count, NO_FOLD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, part) in enumerate(divided):
            parts[part] = number
    return parts


def _divide_by_content(
    pack: Pack,
    splits: NDArray[np.str_],
    folds: NDArray[np.int64],
    groups: list[str | None],
    params: SplitParams,
    seed: int,
) -> None:
    """Give every image a place that depends on its pixels, or its group's name, and the seed alone."""
    names = [image if name is None else name.encode() for name, image in zip(groups, pack.pixel_hashes, strict=True)]
    train = np.flatnonzero(splits == "train")
    own_test, own_val = (splits == "test").any(), (splits == "val").any()
    places = np.array([_place(names[row], seed, "split") for row in train])
    if not own_test:
        splits[train[places < params.test_fraction]] = "test"
    if params.folds is not None:
        _check_no_val(splits)
        rest = np.flatnonzero(splits == "train")
        folds[rest] = [int(params.folds * _place(names[row], seed, "fold")) for row in rest]
        splits[folds == params.fold] = "val"
    elif not own_val:
        # From the other end, so that another test_fraction moves nothing out of val.
        splits[train[places >= 1 - params.val_fraction]] = "val"


def _place(name: bytes, seed: int, purpose: str) -> float:
    """Return a number from 0 to 1 that looks drawn, and is always the same for the same arguments."""
    digest = hashlib.blake2b(name, digest_size=8, key=str(seed).encode(), person=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64


def _check_no_val(splits: NDArray[np.str_]) -> None:
    if (splits == "val").any():
        raise InputError("params.yaml: split.folds: the source has a validation set of its own; set it to null")


def _check_every_class(pack: Pack, splits: NDArray[np.str_], params: SplitParams) -> None:
    for split in SPLITS:
        label = int(count_labels(pack.labels[splits == split], len(pack.classes)).argmin())
        if _holds(pack, splits == split, label):
            continue
        twins = _holds(pack, (splits == LEFT_OUT) & (pack.splits == split), label)
        but = " but duplicates, which are left out" if twins else ""
        way_out = "or remove it"
        if not (pack.splits == split).any():
            folds = split == "val" and params.folds is not None
            way_out = "remove it, or " + ("lower split.folds" if folds else f"raise split.{split}_fraction")
        raise InputError(f"data/split: class '{pack.classes[label]}' has no image in {split}{but}; add images of it, {way_out}")


def _holds(pack: Pack, chosen: NDArray[np.bool_], label: int) -> bool:
    """Return whether a class has images among the chosen ones (N,)."""
    return bool(count_labels(pack.labels[chosen], len(pack.classes))[label])
