"""Properties of images as a whole, named, on both sides alike: of images of data/raw, and of photos. n images."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.data.pack import Pack, Rows
from darkroom.data.resizing import height_and_width
from darkroom.drift.file_facts import FileFacts, kinds_of, numbers_of, read_facts
from darkroom.features import extract
from darkroom.features.appearance import APPEARANCE, measure_appearance
from darkroom.features.backbone import Backbone
from darkroom.features.cache import Features, Places, cached

Properties = tuple[dict[str, NDArray[np.float64]], dict[str, Sequence[str]]]
"""Those that are numbers, and those that are words, by name."""


def of_pack(backbone: Backbone, pack: Pack, rows: Rows) -> Properties:
    """Return the properties of rows of the pack; what takes decoding is kept for the next time."""
    with ThreadPoolExecutor() as threads:
        facts = list(threads.map(lambda row: _facts_of_row(pack, row), rows.tolist()))
    return _comparable(pack, _pack_appearance(backbone, pack, rows), facts)


def of_photos(pack: Pack, photos: Sequence[Path], appearance: NDArray[np.float32]) -> Properties:
    """Return the same properties of photos, whose appearance (n, 4) is known from reading them."""
    with ThreadPoolExecutor() as threads:
        facts = list(threads.map(lambda path: read_facts(path.read_bytes()), photos))
    return _comparable(pack, appearance, facts)


def _facts_of_row(pack: Pack, row: int) -> FileFacts:
    content = pack.file(row)
    height, width = pack.sizes[row].tolist()
    return FileFacts(width, height, 0) if content is None else read_facts(content)


def _pack_appearance(backbone: Backbone, pack: Pack, rows: Rows) -> NDArray[np.float32]:
    # As photos are read: a large JPEG is decoded at a fraction of its size.
    side = None if backbone.preprocess else max(height_and_width(backbone.preprocessing.image_size))

    def compute(places: Places) -> Iterator[tuple[Places, Features]]:
        with ThreadPoolExecutor() as threads:
            for start in range(0, len(places), extract.BATCH_SIZE):
                part = places[start : start + extract.BATCH_SIZE]
                yield part, np.stack(list(threads.map(lambda row: measure_appearance(pack.read(row, side)), rows[part].tolist())))

    about = ["appearance", extract.FORMAT, *APPEARANCE, side, pack.form, pack.channels, pack.resize, pack.dtype]
    return cached(extract.features_dir(), about, [pack.pixel_hashes[row] for row in rows], compute)[0]


def _comparable(pack: Pack, appearance: NDArray[np.float32], facts: Sequence[FileFacts]) -> Properties:
    """Return what download has not changed: with `download.resize` sizes say nothing, of pixels nothing tells the format."""
    numbers = {name: appearance[:, place].astype(np.float64) for place, name in enumerate(APPEARANCE)}
    found = numbers_of(facts)
    is_whole = pack.is_encoded and pack.resize is None and pack.bands is None
    chosen = list(found) if is_whole else ["width / height"] if pack.resize else ["megapixels", "width / height"]
    kinds: dict[str, Sequence[str]] = dict(kinds_of(facts)) if is_whole else {}
    return numbers | {name: found[name] for name in chosen}, kinds
