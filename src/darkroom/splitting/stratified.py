"""The method `stratified`: splits and folds drawn at random, stratified by label, with duplicates and groups kept together."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.base.params import SplitParams
from darkroom.data.labels import Labels, count_labels, is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import NO_FOLD
from darkroom.splitting.needed import least_fraction
from darkroom.splitting.proportional import draw_proportional
from darkroom.splitting.rare import with_every_class
from darkroom.splitting.units import units_of

# Groups are split in parts of at least 1/20.
FINEST = 20


def split_stratified(
    pack: Pack, splits: NDArray[np.str_], sets: Rows, groups: Rows | None, params: SplitParams, seed: int
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Take the splits that the source lacks from its training images.

    Parameters
    ----------
    pack
        The N images.
    splits : (N,) str
        What is known so far: the source's own splits, and what is left out.
    sets : (N,) int64
        Number of the set of duplicates of each row.
    groups : (N,) int64 or None
        Number of the group of each row.
    params
        Fractions and folds.
    seed
        Of the random draws.

    Returns
    -------
    splits : (N,) str
    folds : (N,) int64
        -1 where there are no folds.
    """
    splits, folds = splits.copy(), np.full(len(pack), NO_FOLD)
    train = np.flatnonzero(splits == "train")
    sampler = _Sampler(pack, units_of(train, sets, groups), groups, seed)
    # Fractions are of the distinct images that the source calls train, before anything is taken from them.
    distinct = sampler.count(train)
    if not (splits == "test").any():
        # Validation, or each fold, needs an image of every class, too.
        keep = 1 if (splits == "val").any() else sampler.least_for(params.folds)
        splits[sampler.sample(train, params.test_fraction, distinct, "split.test_fraction", keep=keep)] = "test"
        train = np.flatnonzero(splits == "train")
    if params.folds is not None:
        folds[train] = sampler.folds(train, params.folds)
        splits[folds == params.fold] = "val"
    elif not (splits == "val").any():
        # A class without a test image is refused, as it was, by what it lacks first.
        tested = count_labels(pack.labels[splits == "test"], len(pack.classes)) > 0
        splits[sampler.sample(train, params.val_fraction, distinct, "split.val_fraction", among=tested)] = "val"
    return splits, folds


@dataclass(frozen=True)
class _Sampler:
    """Draws rows at random, stratified by label, whole units at a time."""

    pack: Pack
    units: Rows
    groups: Rows | None
    seed: int

    def count(self, rows: Rows) -> int:
        """Return the number of units of rows."""
        return len(np.unique(self.units[rows]))

    def sample(self, rows: Rows, fraction: float, whole: int, key: str, *, keep: int = 1, among: Any = True) -> Rows:
        """Return rows of about `fraction * whole` units; `key` of params.yaml is named in errors.

        Every class `among` (K,) has one of them, and `keep` others, if it has enough.
        """
        drawn = np.isin(self.units[rows], self.units[self._drawn(rows, fraction, whole, key)])
        numbers, firsts, place = np.unique(self.units[rows], return_index=True, return_inverse=True)
        classes = np.zeros((len(numbers), len(self.pack.classes)), np.bool_)
        if is_multilabel(self.pack.labels):
            np.logical_or.at(classes, place, self.pack.labels[rows].astype(np.bool_))
        else:
            classes[place, self.pack.labels[rows]] = True
        return rows[with_every_class(drawn[firsts], classes & among, keep=keep, seed=self.seed)[place]]

    def least_for(self, folds: int | None) -> int:
        """Return how many units of a class a division into folds, or into training and validation, needs."""
        return 2 if folds is None or self._splits_groups else folds

    def _drawn(self, rows: Rows, fraction: float, whole: int, key: str) -> Rows:
        firsts = self._firsts(rows)
        count = round(fraction * whole)
        rest = len(firsts) - count
        if self._splits_groups:
            part = Fraction(fraction * whole / len(firsts)).limit_denominator(FINEST)
            part = min(max(part, Fraction(1, FINEST)), Fraction(FINEST - 1, FINEST))
            return rows[self._group_folds(rows, part.denominator, key) < part.numerator]
        labels = self._unit_labels(rows, firsts)
        self._check_classes(labels)
        if min(count, rest) < len(self.pack.classes) and not is_multilabel(labels):
            num_classes = len(self.pack.classes)
            which = f"gives {count} of {len(firsts)}" if count < rest else f"leaves {rest} of {len(firsts)}"
            way = f"raise it to {least_fraction(whole, num_classes):g}" if count < rest else "lower it"
            raise InputError(
                f"params.yaml: {key}: {which} images, fewer than one for each of the {num_classes} classes; "
                f"{f'{way}, or ' if len(firsts) >= 2 * num_classes else ''}add images"
            )
        if min(count, rest) < 1:
            raise InputError(f"params.yaml: {key}: gives {count} of {len(firsts)} images or groups; change it, or add images")
        sampled = firsts[_sample(labels, count, self.seed)]
        return rows[np.isin(self.units[rows], self.units[sampled])]

    def folds(self, rows: Rows, count: int) -> NDArray[np.int64]:
        """Return the fold, from 0, of each row."""
        if self._splits_groups:
            return self._group_folds(rows, count, "split.folds")
        firsts = self._firsts(rows)
        labels = self._unit_labels(rows, firsts)
        name, least = self._rarest(labels)
        if least < count:
            raise InputError(
                f"params.yaml: split.folds: is {count}, but class '{name}' has only {least} distinct training image(s); "
                "lower it, or add images"
            )
        fold_of = np.full(len(self.units), NO_FOLD)
        fold_of[self.units[firsts]] = _folds(labels, count, self.seed)
        return fold_of[self.units[rows]]

    @property
    def _splits_groups(self) -> bool:
        # In a multilabel set a group is split like an image that has all the labels of its members.
        return self.groups is not None and not is_multilabel(self.pack.labels)

    def _group_folds(self, rows: Rows, count: int, key: str) -> NDArray[np.int64]:
        from sklearn.model_selection import StratifiedGroupKFold

        available = self.count(rows)
        if available < count:
            groups = len(np.unique(self.groups[rows])) if self.groups is not None else 0
            shared = " (groups that share images count as one; split.duplicates: drop avoids that)" if groups > available else ""
            raise InputError(
                f"params.yaml: {key}: needs {count} groups, which are never split, but the training images have only "
                f"{available}{shared}; use a larger "
                "fraction or fewer folds, add groups, or, of a table, set download.columns.group to false"
            )
        splitter = StratifiedGroupKFold(count, shuffle=True, random_state=self.seed)
        # The splitter would warn of a small class; assign_splits names it once the splits are known.
        return _parts(splitter.split(rows, self.pack.labels[rows], self.units[rows]), len(rows))

    def _firsts(self, rows: Rows) -> Rows:
        _, places = np.unique(self.units[rows], return_index=True)
        return rows[np.sort(places)]

    def _unit_labels(self, rows: Rows, firsts: Rows) -> Labels:
        """Return the label of each unit, of which the first row is given; in a multilabel set the labels of all its images."""
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
            others = "" if count else " (its training images are all in val or test, too)"
            raise InputError(
                f"data/raw: class '{name}' has only {count} distinct image(s) to split{others}; add images, or remove the class"
            )

    def _rarest(self, labels: Labels) -> tuple[str, int]:
        present = count_labels(labels, len(self.pack.classes))
        return self.pack.classes[int(present.argmin())], int(present.min())


def _sample(labels: Labels, count: int, seed: int) -> Rows:
    """Return `count` indices of labels, stratified."""
    if is_multilabel(labels):
        from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

        splitter = MultilabelStratifiedShuffleSplit(1, test_size=count, random_state=seed)
        return next(splitter.split(labels, labels))[1]  # type: ignore[no-any-return]
    return draw_proportional(labels, count, seed)


def _folds(labels: Labels, count: int, seed: int) -> NDArray[np.int64]:
    """Return the fold, from 0, of each label, stratified."""
    if is_multilabel(labels):
        from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

        splitter = MultilabelStratifiedKFold(count, shuffle=True, random_state=seed)
    else:
        from sklearn.model_selection import StratifiedKFold

        splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    return _parts(splitter.split(labels, labels), len(labels))


def _parts(folds: Iterable[tuple[Rows, Rows]], count: int) -> NDArray[np.int64]:
    """Return the number (count,) of the test fold that each index is in, from what a splitter of scikit-learn yields."""
    parts = np.full(count, NO_FOLD)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, part) in enumerate(folds):
            parts[part] = number
    return parts
