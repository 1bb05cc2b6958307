"""Features of files are kept by their content, also when Ctrl-C ends the command; hashes and appearance stand beside them."""

import signal
from pathlib import Path

import numpy as np
import pytest
from labels_fixtures import MeanColours, backbone, folder, make_photo, params

from darkroom.base.errors import Interrupted
from darkroom.base.params import Params
from darkroom.features import extract
from darkroom.features.photos import photo_features
from darkroom.prediction.find_photos import find_photos

__all__ = ["backbone", "folder", "params"]


def test_only_what_is_new_or_changed_is_computed(folder: Path, backbone: MeanColours, params: Params) -> None:
    first = photo_features(backbone, find_photos([folder]), params.predict)
    assert sum(backbone.seen[0]) == 30
    again = photo_features(backbone, find_photos([folder]), params.predict)
    assert sum(backbone.seen[0]) == 30
    assert again.paths == first.paths
    assert np.array_equal(again.values, first.values)
    assert np.array_equal(again.hashes, first.hashes)
    make_photo(folder / "p03.png", "blue", 99)
    make_photo(folder / "sub" / "new.png", "red", 98)
    third = photo_features(backbone, find_photos([folder]), params.predict)
    assert sum(backbone.seen[0]) == 32
    place = third.paths.index(folder / "p03.png")
    assert not np.allclose(third.values[place], first.values[3])
    others = [path for path in first.paths if path.name != "p03.png"]
    rows = [third.paths.index(path) for path in others]
    assert np.array_equal(third.values[rows], first.values[[first.paths.index(path) for path in others]])


def test_ctrl_c_keeps_what_was_computed(
    folder: Path, backbone: MeanColours, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "BATCH_SIZE", 4)
    features = MeanColours.features

    def interrupted(self: MeanColours, images: object) -> object:
        if sum(self.seen[0]) == 20:
            raise Interrupted(signal.SIGINT)
        return features(self, images)  # type: ignore[arg-type]

    monkeypatch.setattr(MeanColours, "features", interrupted)
    with pytest.raises(Interrupted, match="features of 20 of 30 photos are kept, run the same command again") as raised:
        photo_features(backbone, find_photos([folder]), params.predict)
    assert raised.value.number == signal.SIGINT
    monkeypatch.setattr(MeanColours, "features", features)
    backbone.seen[0].clear()
    assert len(photo_features(backbone, find_photos([folder]), params.predict).paths) == 30
    assert sum(backbone.seen[0]) == 10


def test_damaged_files_are_computed_again(folder: Path, backbone: MeanColours, params: Params, tmp_path: Path) -> None:
    first = photo_features(backbone, find_photos([folder]), params.predict)
    for kept in (tmp_path / "kept").rglob("*.npy"):
        kept.write_bytes(kept.read_bytes()[:500])
    again = photo_features(backbone, find_photos([folder]), params.predict)
    assert np.array_equal(again.values, first.values)
    assert sum(backbone.seen[0]) == 60


def test_what_cannot_be_read_is_listed_each_time(folder: Path, backbone: MeanColours, params: Params) -> None:
    (folder / "p05.png").write_bytes(b"nothing")
    for _ in range(2):
        found = photo_features(backbone, find_photos([folder]), params.predict)
        assert [path.name for path, _ in found.bad] == ["p05.png"]
        assert len(found.paths) == len(found.values) == 29
