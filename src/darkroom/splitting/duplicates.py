"""Duplicates: images with equal pixels by their hash, near duplicates by the perceptual hash of 256 bits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.data.labels import Labels
from darkroom.data.pack import Pack, Rows
from darkroom.data.perceptual_hash import HASH_BYTES

# Up to this many hashes, every pair is compared.
FEW = 2048
# A key that more images share is extended by the bits of the next band.
CROWDED = 500
# Neighbouring bits belong to similar frequencies and often agree. This odd step puts them into different bands.
BIT_STEP = 97
CHUNK = 1 << 18

Hashes = NDArray[np.uint8]


def near_pairs(hashes: Hashes, max_distance: int) -> tuple[Rows, NDArray[np.int64]]:
    """Find the hashes that differ in few bits, in time linear in their number.

    Only hashes that agree in one of several bands of bits are compared; the width of a band grows with the number of hashes, so
    that few agree by chance. All pairs that differ in fewer bits than there are bands are found, and nearly all others (99 % of
    those at 25 to 32 bits among 200 000).

    Parameters
    ----------
    hashes : (n, 32) uint8
        From `perceptual_hash`.
    max_distance
        Number of bits.

    Returns
    -------
    pairs : (m, 2) int64
        Rows of `hashes`, the lower first, in ascending order. Of equal hashes each is paired with the first.
    distances : (m,) int64
        Number of bits in which the two differ.
    """
    if len(hashes) == 0:
        return np.empty((0, 2), np.int64), np.empty(0, np.int64)
    words = np.ascontiguousarray(hashes).view(np.uint64)
    order = np.lexsort(words.T)
    starts = np.append(True, (words[order][1:] != words[order][:-1]).any(axis=1))
    # lexsort is stable, so that the first of equal hashes has the lowest row.
    firsts = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    same = np.stack([firsts, order], axis=1)[~starts]
    different = np.sort(order[starts])
    found = [same, *(different[pairs] for pairs in _close(words[different], hashes[different], max_distance))]
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs, _distances(words, pairs)


def connected(count: int, pairs: Rows) -> Rows:
    """Return for each of `count` rows the number of its connected component, given the edges `pairs` (m, 2)."""
    if not len(pairs):
        return np.arange(count)
    # Imported here: it takes 0.2 s.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    sets: Rows = connected_components(links, directed=False)[1].astype(np.int64)
    return sets


def _close(words: NDArray[np.uint64], hashes: Hashes, max_distance: int) -> list[Rows]:
    """Return pairs of hashes within a distance; a pair may occur more than once."""
    if len(words) <= FEW:
        bands = [np.zeros(len(words), np.int64)]
    else:
        width = max(8, int(np.ceil(np.log2(len(words)))) - 4)
        bits = np.arange(8 * HASH_BYTES) * BIT_STEP % (8 * HASH_BYTES)
        parts = [_band(hashes, bits[start : start + width]) for start in range(0, len(bits) - width + 1, width)]
        bands = [_extend_crowded(part, following, width) for part, following in zip(parts, [*parts[1:], parts[0]], strict=True)]
    return [pairs for band in bands for pairs in _close_in_band(words, band, max_distance)]


def _band(hashes: Hashes, bits: NDArray[np.int64]) -> NDArray[np.int64]:
    keys = np.zeros(len(hashes), np.int64)
    for bit in bits:
        keys = keys << 1 | (hashes[:, bit // 8] >> (7 - bit % 8)) & 1
    return keys


def _extend_crowded(keys: NDArray[np.int64], next_band: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the keys of a band, with the bits of the next band added where many images share a key.

    Flat images agree in many bits. Comparing each of them with all others would cost the square of their number.
    """
    crowded = np.bincount(keys)[keys] > CROWDED
    return keys << width | np.where(crowded, next_band, 0)


def _close_in_band(words: NDArray[np.uint64], keys: NDArray[np.int64], max_distance: int) -> list[Rows]:
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    found = []
    for start in range(0, len(order), CHUNK):
        alive, step = np.arange(start, min(start + CHUNK, len(order))), 1
        # Each with its next neighbour of the same key, then with the one after that, until no key has that many.
        while len(alive := alive[alive + step < len(order)]) and len(alive := alive[ordered[alive + step] == ordered[alive]]):
            pairs = np.stack([order[alive], order[alive + step]], axis=1)
            found.append(np.sort(pairs[_distances(words, pairs) <= max_distance], axis=1))
            step += 1
    return found


def _distances(words: NDArray[np.uint64], pairs: Rows) -> NDArray[np.int64]:
    distances: NDArray[np.int64] = np.bitwise_count(words[pairs[:, 0]] ^ words[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
    return distances


@dataclass(frozen=True)
class Duplicates:
    """Pairs of duplicates and near duplicates, in ascending order.

    Attributes
    ----------
    pairs : (m, 2) int64
        Rows of the pack, the lower first. A third equal image is paired with the first.
    distances : (m,) int64
        Bits in which the perceptual hashes differ; -1 where the pixels are equal.
    """

    pairs: Rows
    distances: NDArray[np.int64]

    def conflicts(self, labels: Labels) -> NDArray[np.bool_]:
        """Return which pairs (m,) have different labels."""
        differ: NDArray[np.bool_] = labels[self.pairs[:, 0]] != labels[self.pairs[:, 1]]
        return differ if differ.ndim == 1 else np.any(differ, axis=1)


def find_duplicates(pack: Pack, near_distance: int | None) -> Duplicates:
    """Find images with equal pixels, and those whose perceptual hashes differ in at most `near_distance` bits (None: skip)."""
    # NumPy strips zeros at the end of fixed-width bytes; hashes of equal length stay distinct.
    _, firsts, inverse = np.unique(np.array(pack.pixel_hashes, "S16"), return_index=True, return_inverse=True)
    equal = np.stack([firsts[inverse], np.arange(len(pack))], axis=1)
    equal = equal[equal[:, 0] != equal[:, 1]]
    near, distances = np.empty((0, 2), np.int64), np.empty(0, np.int64)
    if near_distance is not None:
        rows, hashes = pack.near_hashes
        near, distances = near_pairs(hashes, near_distance)
        near = rows[near]
        different = inverse[near[:, 0]] != inverse[near[:, 1]]
        near, distances = near[different], distances[different]
    pairs = np.concatenate([equal, near])
    order = np.lexsort(pairs.T[::-1])
    return Duplicates(pairs[order], np.concatenate([np.full(len(equal), -1), distances])[order])
