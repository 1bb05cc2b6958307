"""Which photos are equal or near duplicates, of each other and of images of data/raw. N photos, M images of data/raw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.data.pack import Pack, Rows
from darkroom.splitting.duplicates import Hashes, connected, near_pairs

# If near duplicates join more photos than this, and than this share of all, only equal ones count: the others merely look alike.
MAX_SET, MAX_SET_FRACTION = 20, 0.2


@dataclass(frozen=True)
class Kinds:
    """Which images are equal or near duplicates.

    Attributes
    ----------
    photos : (N,) int64
        The kind of each photo.
    raw : (M,) int64
        The kind of each image of data/raw.
    """

    photos: Rows
    raw: Rows


def find_kinds(hashes: Hashes, names: Sequence[str], pack: Pack | None, near_distance: int | None) -> Kinds:
    """Return the kinds of photos and of images of data/raw by perceptual hashes that differ in at most `near_distance` bits.

    Images without a hash, which are tiny or flat, are of one kind if data/raw has one under the name of the photo.

    Parameters
    ----------
    hashes : (N, 32) uint8
        Of the photos; zeros where one has none.
    names
        N ids that the photos would have in data/raw.
    pack
        data/raw, None without it.
    near_distance
        As `split.near_distance`; None: only equal hashes count.
    """
    count = len(hashes)
    rows, of_raw = pack.near_hashes if pack is not None else (np.empty(0, np.int64), hashes[:0])
    hashed = hashes.any(axis=1)
    places = np.concatenate([np.flatnonzero(hashed), count + rows])
    every = np.concatenate([hashes[hashed], of_raw])
    total = count + (len(pack) if pack is not None else 0)
    kinds = connected(total, places[near_pairs(every, near_distance or 0)[0]])
    if np.bincount(kinds).max(initial=0) > max(MAX_SET, MAX_SET_FRACTION * total):
        kinds = connected(total, places[near_pairs(every, 0)[0]])
    if pack is not None and not hashed.all():
        ids = {name: row for row, name in enumerate(pack.ids)}
        for place in np.flatnonzero(~hashed).tolist():
            row = ids.get(names[place])
            kinds[place] = kinds[place] if row is None else kinds[count + row]
    return Kinds(kinds[:count], kinds[count:])
