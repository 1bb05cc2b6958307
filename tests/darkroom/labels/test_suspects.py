"""Which images are doubtful: another class is more probable, or a duplicate has another label; what stays in one fold."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import Params, SplitParams
from darkroom.data.pack import Pack
from darkroom.labels.suspects import Units, checked_rows, find_suspects, find_units
from darkroom.splitting.duplicates import Duplicates

MakePack = Callable[..., Pack]
ALONE = Duplicates(np.empty((0, 2), np.int64), np.empty(0, np.int64))


@pytest.fixture
def params(make_params: Callable[..., Params]) -> SplitParams:
    return make_params().split


def noise(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)


def test_the_least_probable_label_comes_first(make_pack: MakePack) -> None:
    pack = make_pack([(number % 2, "train", number) for number in range(4)])
    probabilities = np.array([[0.4, 0.6], [0.1, 0.9], [0.02, 0.98], [0.7, 0.3]])
    found = find_suspects(pack, np.arange(4), probabilities, Units(np.arange(4), ALONE), []).found
    assert [(each.id, each.label, each.proposed) for each in found] == [
        ("00002", "class 0", "class 1"),
        ("00003", "class 1", "class 0"),
        ("00000", "class 0", "class 1"),
    ]
    assert (found[0].confidence, found[0].own) == (pytest.approx(0.98), pytest.approx(0.02))
    assert all(each.given == each.label for each in found)


def test_a_label_that_was_corrected_keeps_what_the_source_gave(make_pack: MakePack) -> None:
    pack = make_pack([(0, "train", 0), (1, "train", 1)])
    pack.dataset["corrected"] = [{"id": "00000", "given": "class 1", "label": "class 0"}]
    (found,) = find_suspects(pack, np.arange(2), np.array([[0.1, 0.9], [0, 1]]), Units(np.arange(2), ALONE), []).found
    assert (found.given, found.label, found.proposed) == ("class 1", "class 0", "class 1")


def test_duplicates_with_two_labels_are_doubtful_and_stay_in_one_fold(make_pack: MakePack, params: SplitParams) -> None:
    near = noise(0)
    near[0, 0] ^= 1
    images = [(0, "train", noise(0)), (1, "train", noise(0)), (1, "test", near), (0, "train", noise(1)), (1, "train", noise(2))]
    pack = make_pack(images)
    units = find_units(pack, params)
    rows = {name: row for row, name in enumerate(pack.ids)}
    same = [units.numbers[rows[f"0000{number}"]] for number in range(3)]
    assert len(set(same)) == 1
    assert len(set(units.numbers.tolist())) == 3
    sure = np.eye(2)[pack.labels]
    notes = {each.id: each.note for each in find_suspects(pack, np.arange(5), sure, units, []).found}
    assert notes == {
        "00000": "same pixels as 00001 (class 1)",
        "00001": "same pixels as 00000 (class 0)",
        "00002": "looks like 00000 (class 0)",
    }


def test_groups_stay_in_one_fold(make_pack: MakePack, params: SplitParams) -> None:
    pack = make_pack([(number % 2, "train", number) for number in range(4)], groups=["a", "a", None, "b"])
    numbers = find_units(pack, params).numbers
    assert numbers[0] == numbers[1]
    assert len(set(numbers.tolist())) == 3


def test_images_that_all_look_alike_are_no_near_duplicates(make_pack: MakePack, params: SplitParams) -> None:
    grey = np.full((40, 40, 3), 128, np.uint8)
    images = [np.copy(grey) for _ in range(120)]
    for number, each in enumerate(images):
        each[number // 40, number % 40] += 1
    pack = make_pack([(number % 2, "train", each) for number, each in enumerate(images)])
    assert len(set(find_units(pack, replace_distance(params)).numbers.tolist())) == 120


def replace_distance(params: SplitParams) -> SplitParams:
    return params.model_copy(update={"near_distance": 64})


def test_a_class_of_one_image_is_not_checked() -> None:
    labels, units = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2, 3, 3])
    rows, unchecked = checked_rows(labels, units, 4)
    assert rows.tolist() == [0, 1]
    assert unchecked == [1, 2]


def test_several_labels_are_refused(make_pack: MakePack, params: SplitParams) -> None:
    pack = make_pack([((0,), "train", 0), ((0, 1), "train", 1)], multilabel=True)
    with pytest.raises(InputError, match="data/raw: its images may have any number of classes; labels check is for sets of one"):
        find_units(pack, params)
