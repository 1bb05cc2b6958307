"""How many images of every class a split needs, and which fraction gives each class one. K classes."""

import math
from collections.abc import Mapping

import numpy as np

from darkroom.base.errors import InputError, counted, listed
from darkroom.base.params import SplitParams
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows


def check_enough(pack: Pack, train: Rows, units: Rows, params: SplitParams, *, grouped: bool) -> None:
    """Refuse a class that cannot be in every split, before anything is drawn.

    Parameters
    ----------
    pack
        The N images.
    train
        Rows from which the missing splits are taken.
    units : (N,) int64
        Number of what is never divided and each row belongs to: itself, its duplicates, its group.
    params
        Folds and method.
    grouped
        Whether units are groups.

    Raises
    ------
    InputError
        Saying how many the class has and how many it needs.
    """
    has_val, has_test = bool((pack.splits == "val").any()), bool((pack.splits == "test").any())
    if has_val and has_test:
        return
    least, parts = needed(params, has_val=has_val, has_test=has_test, grouped=grouped)
    few = {name: count for name, count in zip(pack.classes, _counts(pack, train, units), strict=True) if count < least}
    if not few:
        return
    name, count = next(iter(few.items()))
    taken = "" if count else " (its training images are all in val or test, too)"
    others = [f"'{other}' {number}" for other, number in list(few.items())[1:]]
    more = f" (too few, too: {listed(others)})" if others else ""
    folds = count - (not has_test)
    lower = f"lower split.folds to {folds}, " if params.folds is not None and 2 <= folds < least - (not has_test) else ""
    raise InputError(
        f"data/raw: class '{name}' has {counted(count, 'distinct group' if grouped else 'distinct image')} to split{taken}, but "
        f"needs {least}: {parts}{more}; add {least - count}, {lower}or remove the class"
    )


def needed(params: SplitParams, *, has_val: bool = False, has_test: bool = False, grouped: bool = False) -> tuple[int, str]:
    """Return how many distinct images, or groups, of each class a split needs, and what for.

    Parameters
    ----------
    params
        Folds and method.
    has_val, has_test
        Whether the source has its own validation and test set.
    grouped
        Whether groups are kept together; like `split.method: stable` they fill no fold by number.
    """
    if params.folds is not None and params.method == "stratified" and not grouped:
        return params.folds + (not has_test), f"one for each of {params.folds} folds" + ("" if has_test else ", and one to test")
    wanted = ["to train on", *([] if has_val else ["to validate"]), *([] if has_test else ["to test"])]
    return len(wanted), f"one each {', '.join(wanted[:-1])} and {wanted[-1]}"


def too_few(counts: Mapping[str, int], params: SplitParams) -> list[str]:
    """Return what keeps images from being split yet, as lines that say what is missing; nothing if they can be.

    `counts` are the distinct images of each class, of a source without splits of its own.
    """
    least, parts = needed(params)
    few = [f"{name} ({count})" for name, count in sorted(counts.items()) if count < least]
    if few:
        return [f"each class needs {least} labels to be split, {parts}; too few so far: {', '.join(few)}"]
    lines, total = [], sum(counts.values())
    fractions = {"split.test_fraction": params.test_fraction}
    if params.folds is None:
        fractions["split.val_fraction"] = params.val_fraction
    for key, fraction in fractions.items():
        if params.method == "stratified" and round(fraction * total) < len(counts):
            way = f"add -S {key}={least_fraction(total, len(counts)):g}"
            lines.append(f"{key} {fraction:g} of {total} labels is fewer than one for each of {len(counts)} classes; {way}")
    return lines


def least_fraction(total: int, num_classes: int) -> float:
    """Return the smallest fraction, in hundredths, of `total` images that gives each of K classes one."""
    return math.ceil(100 * num_classes / total) / 100


def _counts(pack: Pack, train: Rows, units: Rows) -> list[int]:
    """Return the number of distinct units of each class, K."""
    labels = pack.labels[train]
    places, classes = np.nonzero(labels) if is_multilabel(labels) else (np.arange(len(train)), labels)
    num_units = int(units.max(initial=0)) + 1
    pairs = np.unique(classes.astype(np.int64) * num_units + units[train][places])
    counts: list[int] = np.bincount(pairs // num_units, minlength=len(pack.classes)).tolist()
    return counts
