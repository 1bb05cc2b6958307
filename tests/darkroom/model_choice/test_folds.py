"""The splits that a training is judged on."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.model_choice import folds
from darkroom.model_choice.folds import PARTS, folds_of
from darkroom.splitting.duplicates import Duplicates


def test_every_image_but_those_of_test_is_judged_on_once(make_params: Callable[..., Params], digits: Any) -> None:
    split, params = digits.split, make_params()
    found = folds_of(split, digits.pack, params.split, 0)
    assert found[0] is split
    assert len(found) == 1 + PARTS
    judged = np.concatenate([each.rows["val"] for each in found])
    assert np.array_equal(np.sort(judged), np.sort(np.concatenate([split.rows["train"], split.rows["val"]])))
    for each in found:
        assert not np.isin(each.rows["train"], each.rows["val"]).any()
        assert not np.isin(each.rows["train"], split.rows["test"]).any()
        assert set(digits.pack.labels[each.rows["val"]]) == set(range(10))


def test_duplicates_and_groups_are_not_divided(
    make_params: Callable[..., Params], digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, trained = make_params(), digits.split.rows["train"]
    pairs = np.stack([trained[:-1:3], trained[1::3][: len(trained[:-1:3])]], axis=1)
    with monkeypatch.context() as patched:
        patched.setattr(folds, "find_duplicates", lambda *_: Duplicates(pairs, np.zeros(len(pairs), np.int64)))
        found = folds_of(digits.split, digits.pack, params.split, 0)
    for each in found[1:]:
        held = np.isin(pairs, each.rows["val"])
        assert (held[:, 0] == held[:, 1]).all()
    names = [str(number // 40) for number in range(len(digits.pack))]
    monkeypatch.setattr("darkroom.splitting.units.group_names", lambda *_: names)
    for each in folds_of(digits.split, digits.pack, params.split, 0)[1:]:
        groups = {names[row] for row in each.rows["val"]}
        assert not groups & {names[row] for row in trained if row not in set(each.rows["val"])}


def test_many_images_of_validation_are_enough(
    make_params: Callable[..., Params], digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folds, "FEW_IMAGES", 100)
    assert folds_of(digits.split, digits.pack, make_params().split, 0) == [digits.split]


def test_one_group_and_few_images_have_no_parts(
    make_params: Callable[..., Params], digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = make_params()
    few = replace(digits.split, rows=digits.split.rows | {"train": digits.split.rows["train"][:3]})
    assert folds_of(few, digits.pack, params.split, 0) == [few]
    monkeypatch.setattr("darkroom.splitting.units.group_names", lambda *_: ["one"] * len(digits.pack))
    assert folds_of(digits.split, digits.pack, params.split, 0) == [digits.split]
    assert isinstance(digits.split, Split)


def test_images_of_several_labels_have_folds(make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch) -> None:
    pack: Any = SimpleNamespace(labels=np.ones((60, 3), np.uint8), ids=["x"] * 60, groups=[None] * 60, __len__=lambda: 60)
    monkeypatch.setattr(folds, "_units", lambda *_: np.arange(60))
    split = Split(["a", "b", "c"], {"train": np.arange(40), "val": np.arange(40, 60), "test": np.arange(0)}, "", "multilabel")
    found = folds_of(split, pack, make_params().split, 0)
    assert [len(each.rows["val"]) for each in found] == [20, 10, 10, 10, 10]
    assert all(each.task == "multilabel" for each in found)
