"""Fixtures for the tests of the data, sources and splitting rooms: a private folder and cache, params, images, packs."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base import paths
from darkroom.base.params import DownloadParams, Params
from darkroom.data.images import Decoded
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.sources.pack_writer import write_pack


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let each test have a repository and a cache of its own, and no proxy."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setenv("DARKROOM_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


@pytest.fixture
def download(make_params: Callable[..., Params]) -> Callable[..., DownloadParams]:
    """Return section `download` with some keys changed: `download(source="folder")`."""

    def make(**changes: Any) -> DownloadParams:
        return make_params({f"download.{key}": value for key, value in changes.items()}).download

    return make


@pytest.fixture
def image() -> Callable[..., bytes]:
    """Return an encoded image of random pixels, the same for the same seed."""

    def make(seed: int = 0, shape: tuple[int, ...] = (8, 8, 3), kind: str = "PNG") -> bytes:
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(file, kind)
        return file.getvalue()

    return make


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
