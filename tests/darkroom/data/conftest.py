"""What the tests of data share: packs of made-up images."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_fixtures import download, image, root

from darkroom.data.images import Decoded
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.params import DownloadParams
from darkroom.sources.pack_writer import write_pack


@pytest.fixture
def make_pack(tmp_path: Path, download: Callable[..., DownloadParams]) -> Callable[..., Pack]:
    """Return a pack of (label, split, pixels) images, a number standing for a small image of its own."""

    def make(
        images: Sequence[tuple[Any, str, Any]], groups: Sequence[str | None] | None = None, *, multilabel: bool = False
    ) -> Pack:
        items = []
        for number, (label, split, pixels) in enumerate(images):
            if isinstance(pixels, int):
                pixels = np.array([[pixels % 256, pixels // 256], [0, 1]], np.uint8)
            read = partial(lambda pixels, label: (Decoded(pixels), label), pixels, label)
            items.append(Item(f"{number:05d}", split, read, groups[number] if groups else None))
        (tmp_path / "raw").mkdir()
        listing = Listing("test", items, lambda labels: [f"class {label}" for label in labels], {}, multilabel=multilabel)
        write_pack(listing, tmp_path / "raw", download())
        return Pack.open(tmp_path / "raw")

    return make
