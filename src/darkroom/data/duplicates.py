"""Pictures that are the same, or nearly: equal pixels by their hash, near ones by a perceptual hash of 256 bits.

The perceptual hash is the DCT hash of Zauner (2010), "Implementation and benchmarking of perceptual image hash functions", with
16 by 16 coefficients of 64 by 64 luma values. Its arithmetic is on whole numbers, so that every machine gives the same bits.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.data.pictures import Picture

HASH_BYTES = 32
# A picture of fewer pixels a side holds less than the 256 bits say, and one that is nearly flat holds noise.
MIN_SIDE = 32
MIN_DEVIATION = 4.0  # of 255 grey values
SIDE, FREQUENCIES = 64, 16
# Rows of the DCT-II in steps of 1/1024: products and sums stay below 2**53, so that float64 holds them exactly in any order.
COSINES = np.rint(1024 * np.cos(np.pi * (2 * np.arange(SIDE) + 1) * np.arange(FREQUENCIES)[:, None] / (2 * SIDE)))
# Up to so many hashes are compared with every other one.
FEW = 2048
# A key that more pictures have is told apart further.
CROWDED = 500
# Neighbouring bits are of like frequencies and often agree; this step, odd, deals them out to different bands.
BIT_STEP = 97
CHUNK = 1 << 18

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint8]


def perceptual_hash(picture: Picture) -> bytes | None:
    """Return 32 bytes of which few bits differ between pictures that look the same; None if nothing can be said.

    Resizing, JPEG compression, other brightness or contrast, and colour change few bits of the 256; unrelated pictures differ in
    128 or so. Mirrored, turned or cropped pictures are not found.

    Parameters
    ----------
    picture : (H, W) or (H, W, 3) uint8
        As `decode` gives it.
    """
    if min(picture.shape[:2]) < MIN_SIDE:
        return None
    grey = Image.fromarray(picture).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0)
    values = np.asarray(grey, np.float64)
    if values.std() < MIN_DEVIATION:
        return None
    coefficients = (COSINES @ values @ COSINES.T).ravel()[1:]
    bits = coefficients > np.median(coefficients)
    return np.packbits(np.append(False, bits)).tobytes()


def near_pairs(hashes: Hashes, max_distance: int) -> tuple[Rows, NDArray[np.int64]]:
    """Find the hashes that differ in few bits, in time linear in their number.

    Candidates share one of several bands of bits, as many as let few hashes share one by chance. All pairs that differ in fewer
    bits than there are bands are found, nearly all others too (99 % of those at 25 to 32 bits among 200 000).

    Parameters
    ----------
    hashes : (n, 32) uint8
        As `perceptual_hash` gives them.
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
    # lexsort is stable: the first of equal hashes is the one that stands first.
    firsts = order[np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))]
    same = np.stack([firsts, order], axis=1)[~starts]
    different = np.sort(order[starts])
    found = [same, *(different[pairs] for pairs in _close(words[different], hashes[different], max_distance))]
    pairs = np.unique(np.concatenate(found), axis=0)
    return pairs, _distances(words, pairs)


def connected(count: int, pairs: Rows) -> Rows:
    """Return for each of `count` rows the number of its set, when the rows of every pair (m, 2) are in one set."""
    if not len(pairs):
        return np.arange(count)
    # Imported here: it takes 0.2 s.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    sets: Rows = connected_components(links, directed=False)[1].astype(np.int64)
    return sets


def _close(words: NDArray[np.uint64], hashes: Hashes, max_distance: int) -> list[Rows]:
    """Return pairs of different hashes within a distance, some of them more than once."""
    if len(words) <= FEW:
        bands = [np.zeros(len(words), np.int64)]
    else:
        width = max(8, int(np.ceil(np.log2(len(words)))) - 4)
        bits = np.arange(8 * HASH_BYTES) * BIT_STEP % (8 * HASH_BYTES)
        parts = [_band(hashes, bits[start : start + width]) for start in range(0, len(bits) - width + 1, width)]
        bands = [_spread(part, following, width) for part, following in zip(parts, [*parts[1:], parts[0]], strict=True)]
    return [pairs for band in bands for pairs in _close_in_band(words, band, max_distance)]


def _band(hashes: Hashes, bits: NDArray[np.int64]) -> NDArray[np.int64]:
    keys = np.zeros(len(hashes), np.int64)
    for bit in bits:
        keys = keys << 1 | (hashes[:, bit // 8] >> (7 - bit % 8)) & 1
    return keys


def _spread(keys: NDArray[np.int64], further: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return keys of which none has very many pictures: these are told apart by further bits.

    Flat pictures agree in many bits. Each of them would be compared with all others, at a cost that grows with their square.
    """
    crowded = np.bincount(keys)[keys] > CROWDED
    return keys << width | np.where(crowded, further, 0)


def _close_in_band(words: NDArray[np.uint64], keys: NDArray[np.int64], max_distance: int) -> list[Rows]:
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    found = []
    for start in range(0, len(order), CHUNK):
        alive, step = np.arange(start, min(start + CHUNK, len(order))), 1
        # Each with its next neighbour of the same key, then the one after that, until no key has so many.
        while len(alive := alive[alive + step < len(order)]) and len(alive := alive[ordered[alive + step] == ordered[alive]]):
            pairs = np.stack([order[alive], order[alive + step]], axis=1)
            found.append(np.sort(pairs[_distances(words, pairs) <= max_distance], axis=1))
            step += 1
    return found


def _distances(words: NDArray[np.uint64], pairs: Rows) -> NDArray[np.int64]:
    distances: NDArray[np.int64] = np.bitwise_count(words[pairs[:, 0]] ^ words[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
    return distances
