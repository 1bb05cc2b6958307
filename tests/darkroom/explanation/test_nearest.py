"""The training images nearest to others, whose features are computed once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explanation_fixtures import digits_predictor

from darkroom.base import paths
from darkroom.explanation import nearest
from darkroom.explanation.features import compute_features
from darkroom.explanation.nearest import KEPT, Neighbour, features_dir, find_nearest, training_features, unit


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)


def test_the_nearest_come_first() -> None:
    training = unit(np.array([[1, 0], [0, 1], [1, 1], [2, 2]], np.float32))
    found = find_nearest(np.array([[5, 5], [3, 0]], np.float32), training, np.array([10, 11, 12, 13]), 2)
    assert [[each.row for each in row] for row in found] == [[12, 13], [10, 12]]
    assert found[1][0] == Neighbour(10, 1.0)
    assert found[1][1].similarity == pytest.approx(0.7071, abs=1e-3)


def test_of_a_training_image_itself_is_the_nearest(digits: Any) -> None:
    predictor, rows = digits_predictor(digits), digits.split.rows["train"]
    training = training_features(predictor, digits.pack, digits.split, 256)
    assert training.shape[0] == len(rows)
    found = find_nearest(compute_features(predictor, digits.pack, rows[:70], 256), training, rows, 3)
    assert [each[0].row for each in found] == rows[:70].tolist()
    assert all(each[0].similarity > 0.999 for each in found)
    labels = digits.pack.labels
    assert len({tuple(labels[[one.row for one in each]]) for each in found}) > 5


def test_features_are_computed_once(digits: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    predictor = digits_predictor(digits)
    first = training_features(predictor, digits.pack, digits.split, 256)
    assert "computes the features of 1258 training images" in capsys.readouterr().out
    computed: list[int] = []
    compute = nearest.compute_features
    monkeypatch.setattr(nearest, "compute_features", lambda *given: (computed.append(1), compute(*given))[1])
    assert np.array_equal(training_features(predictor, digits.pack, digits.split, 256), first)
    assert not computed
    (path,) = features_dir().iterdir()
    path.write_bytes(path.read_bytes()[:-10])  # a damaged file is no reason to fail, nor to believe it
    assert np.array_equal(training_features(predictor, digits.pack, digits.split, 256), first)
    assert computed == [1]
    other = digits_predictor(digits, weights_sha256="1")
    training_features(other, digits.pack, digits.split, 256)
    assert computed == [1, 1]
    for number in range(KEPT + 2):
        training_features(digits_predictor(digits, weights_sha256=f"x{number}"), digits.pack, digits.split, 256)
    assert len(list(features_dir().iterdir())) == KEPT
