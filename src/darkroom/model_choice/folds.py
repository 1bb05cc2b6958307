"""What a training is judged on: the validation split, and where that is small, also parts of the training split in turn."""

import numpy as np

from darkroom.base.params import SplitParams
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.splitting.duplicates import connected, find_duplicates

# With fewer images of validation, an accuracy of 0.97 has an interval of more than 3 points.
FEW_IMAGES = 500
# Parts of the training split that are judged on in turn.
PARTS = 4


def folds_of(split: Split, pack: Pack, params: SplitParams, seed: int) -> list[Split]:
    """Return splits to train and judge on; the first is the given one, whose result a training of the pipeline has.

    Of the others each validates on a part of the training images, and trains on the rest and on the validation images. Duplicates
    and groups are never divided. The test split is in none.
    """
    train, val = split.rows["train"], split.rows["val"]
    if len(val) >= FEW_IMAGES or len(train) < 2 * PARTS:
        return [split]
    parts = _parts(train, pack, params, seed)
    further = [parts == number for number in range(parts.max() + 1)]
    return [split, *(_with(split, np.sort(np.concatenate([train[~held], val])), train[held]) for held in further)]


def _with(split: Split, train: Rows, val: Rows) -> Split:
    return Split(split.classes, {"train": train, "val": val, "test": split.rows["test"]}, split.sha256, split.task)


def _parts(train: Rows, pack: Pack, params: SplitParams, seed: int) -> Rows:
    """Return the part of each training image, (N,)."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    units = _units(pack, params)[train]
    count = min(PARTS, len(np.unique(units)))
    if count < 2:
        return np.full(len(train), -1)  # one group alone, which is not divided
    if is_multilabel(pack.labels):
        splits = GroupKFold(count, shuffle=True, random_state=seed).split(train, groups=units)
    else:
        splits = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(train, pack.labels[train], units)
    parts = np.full(len(train), -1)
    for number, (_, part) in enumerate(splits):
        parts[part] = number
    return parts


def _units(pack: Pack, params: SplitParams) -> Rows:
    """Return for each image the number of what is not divided: its duplicates, and those of its group."""
    from darkroom.splitting.units import group_names

    pairs = [find_duplicates(pack, params.near_distance).pairs]
    first: dict[str, int] = {}
    for row, name in enumerate(group_names(pack, params.group_pattern)):
        if name is not None:
            pairs.append(np.array([[first.setdefault(name, row), row]]))
    return connected(len(pack), np.concatenate(pairs))
