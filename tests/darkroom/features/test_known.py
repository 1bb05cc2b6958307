"""Images of a file are compared by direction, and a file of other features or of none is refused."""

from pathlib import Path

import numpy as np
import pytest

from darkroom.base.errors import InputError
from darkroom.features import cache, extract
from darkroom.features.known import images_of_file
from darkroom.prediction.embeddings_file import Embeddings, FeaturesOf, writing_embeddings
from darkroom.prediction.predictions import Predictions

OF = FeaturesOf("models", "Net", "a" * 64)


def write(path: Path, count: int, **more: object) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)
    with writing_embeddings(path) as writer:
        names = [f"{number}.png" for number in range(count)]
        writer.add(Predictions(["x"], names, np.ones((count, 1)), embeddings=Embeddings(values, OF), **more))  # type: ignore[arg-type]
    return values


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_length_of_features_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool) -> None:
    monkeypatch.setattr(extract, "features_dir", lambda: tmp_path / "kept")
    if not in_memory:
        monkeypatch.setattr(cache, "IN_MEMORY_BYTES", 0)
    values = write(tmp_path / "f.parquet", 9, actual=[f"class {number}" for number in range(9)])
    known = images_of_file(tmp_path / "f.parquet", OF)
    assert isinstance(known.features, np.memmap) != in_memory
    for number, near in enumerate(known.nearest(values * 7, 2)):
        assert near[0][:2] == (f"{number}.png", f"class {number}")  # the true class, where it is known
        assert near[0].similarity == pytest.approx(1, abs=1e-6)
        assert near[1].similarity < 0.9999


def test_other_features_and_none_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "f.parquet", 3)
    with pytest.raises(
        InputError, match=r"^--among: .*: its embeddings are of Net \(models, aaaaaaaa\), not of Net \(models, bbb"
    ):
        images_of_file(tmp_path / "f.parquet", OF._replace(weights_sha256="b" * 64))
    write(tmp_path / "none.parquet", 0)
    with pytest.raises(InputError, match=r"^--among: .*none\.parquet: holds no images; name another file"):
        images_of_file(tmp_path / "none.parquet", OF)
