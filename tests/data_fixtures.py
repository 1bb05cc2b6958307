"""What the tests of data and of sources share: a private cache, params, and small images."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom import paths
from darkroom.params import DownloadParams, Params


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository and the cache of a test are folders of its own."""
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
