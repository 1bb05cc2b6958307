"""The method `stable`: the split of an image depends on its own content only, so that new images move no old one."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from darkroom.base.params import SplitParams
from darkroom.data.pack import Pack
from darkroom.data.split_file import NO_FOLD


def split_by_content(
    pack: Pack, splits: NDArray[np.str_], groups: list[str | None], params: SplitParams, seed: int
) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """Take the splits that the source lacks from its training images, by a hash of pixels, or of the group's name, and seed.

    Parameters
    ----------
    pack
        The N images.
    splits : (N,) str
        What is known so far: the source's own splits, and what is left out.
    groups
        Name of the group of each row.
    params
        Fractions and folds.
    seed
        Another seed gives another split.

    Returns
    -------
    splits : (N,) str
    folds : (N,) int64
        -1 where there are no folds.
    """
    splits, folds = splits.copy(), np.full(len(pack), NO_FOLD)
    names = [image if name is None else name.encode() for name, image in zip(groups, pack.pixel_hashes, strict=True)]
    train = np.flatnonzero(splits == "train")
    own_test, own_val = (splits == "test").any(), (splits == "val").any()
    positions = np.array([_position(names[row], seed, "split") for row in train])
    if not own_test:
        splits[train[positions < params.test_fraction]] = "test"
    if params.folds is not None:
        rest = np.flatnonzero(splits == "train")
        folds[rest] = [int(params.folds * _position(names[row], seed, "fold")) for row in rest]
        splits[folds == params.fold] = "val"
    elif not own_val:
        # From the other end, so that another test_fraction moves no image out of val.
        splits[train[positions >= 1 - params.val_fraction]] = "val"
    return splits, folds


def _position(name: bytes, seed: int, purpose: str) -> float:
    """Return a number in [0, 1), uniformly distributed over names and always the same for the same arguments."""
    digest = hashlib.blake2b(name, digest_size=8, key=str(seed).encode(), person=purpose.encode()).digest()
    return int.from_bytes(digest, "big") / 2**64
