"""Images with what explains their predictions."""

from typing import Any

import numpy as np
import pytest
import torch
from explanation_fixtures import digits_predictor, predictor_of
from torch import nn

from darkroom.explanation.explained import Inputs, Training, explain


def batches(digits: Any, count: int = 3) -> list[torch.Tensor]:
    images = torch.from_numpy(digits.pack.batch(digits.split.rows["test"][:count])).permute(0, 3, 1, 2)
    return list(torch.split(images, 2))


def test_of_several_labels_the_most_probable_is_explained(digits: Any) -> None:
    single = digits_predictor(digits)
    predictor = predictor_of(single.model.network, [*"abcdefghij"], single.seen, task="multilabel")
    found = explain(predictor, Inputs(["x", "y", "z"], batches(digits), ["a; b", "none", "c"]))
    assert [each.name for each in found] == ["x", "y", "z"]
    for each in found:
        assert each.explained == each.probable[0][0]
        assert [value for _, value in each.probable] == sorted((value for _, value in each.probable), reverse=True)
        above = {name for name, value in each.probable if value > 0.5}
        assert above <= set(each.predicted.split("; "))
    assert found[0].actual == "a; b"


def test_a_class_can_be_wanted(digits: Any) -> None:
    predictor = digits_predictor(digits)
    drawn = [explain(predictor, Inputs(["x"], batches(digits, 1)), label)[0] for label in (None, 0, 7)]
    assert [each.explained for each in drawn[1:]] == [digits.pack.classes[0], digits.pack.classes[7]]
    assert drawn[0].explained == drawn[0].predicted
    assert not np.array_equal(drawn[1].drawn, drawn[2].drawn)


def test_what_a_network_does_not_allow_is_left_out(
    digits: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("darkroom.features.extract.features_dir", lambda: tmp_path)
    predictor = digits_predictor(digits, network=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    training = Training(digits.pack, digits.split, 2)
    (first, *_) = explain(predictor, Inputs(["x", "y", "z"], batches(digits)), training=training)
    assert first.drawn is None
    assert len(first.near) == 2
    assert capsys.readouterr().err.count("no layer before its logits has places") == 1
