"""Splits are disjoint, stratified, seeded; the source's own sets stay whole; equal images and groups stand on one side."""

import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.splitting.assign import assign_splits


def test_carved_splits_are_disjoint_stratified_and_seeded(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params]
) -> None:
    pack = make_pack([(number % 4 if number % 8 else 0, "train", number) for number in range(1000)])
    params = make_params().split
    splits = assign_splits(pack, params, 0).splits
    assert Counter(splits.tolist()) == {"train": 700, "val": 100, "test": 200}
    for label in range(4):
        of_class = splits[pack.labels == label]
        assert (of_class == "test").sum() == pytest.approx(0.2 * len(of_class), abs=1)
        assert (of_class == "val").sum() == pytest.approx(0.1 * len(of_class), abs=1)
    assert np.array_equal(assign_splits(pack, params, 0).splits, splits)
    assert not np.array_equal(assign_splits(pack, params, 1).splits, splits)


def test_the_source_s_own_sets_are_kept(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    own = ["train"] * 100 + ["val"] * 20 + ["test"] * 30
    pack = make_pack([(number % 2, split, number) for number, split in enumerate(own)])
    assert assign_splits(pack, make_params().split, 0).splits.tolist() == pack.splits.tolist()


def test_only_the_missing_set_is_carved(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    own = ["train"] * 100 + ["test"] * 30
    pack = make_pack([(number % 2, split, number) for number, split in enumerate(own)])
    splits = assign_splits(pack, make_params().split, 0).splits
    assert Counter(splits.tolist()) == {"train": 90, "val": 10, "test": 30}
    assert (splits[pack.splits == "test"] == "test").all()


def test_equal_images_stay_together(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack([(number // 4 % 2, "train", number // 4) for number in range(400)])  # each image four times
    for seed in range(5):
        splits = assign_splits(pack, make_params().split, seed).splits
        where: dict[bytes, set[str]] = {}
        for image, split in zip(pack.pixel_hashes, splits, strict=True):
            where.setdefault(image, set()).add(split)
        assert all(len(names) == 1 for names in where.values())


def test_a_training_image_that_is_also_tested_on_is_left_out(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params]
) -> None:
    images = [(number % 2, "train", number) for number in range(60)] + [(number % 2, "test", number) for number in range(50, 70)]
    pack = make_pack(images)
    params = make_params().split
    splits = assign_splits(pack, params, 0).splits
    values = [int(pack[row][0, 0, 0]) for row in range(len(pack))]
    left_out = [value for value, split in zip(values, splits, strict=True) if split == "left_out"]
    assert sorted(left_out) == list(range(50, 60))
    assert (splits == "test").sum() == 20


def test_what_is_tested_on_chooses_no_epoch(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    own = [("train", range(40)), ("val", range(30, 60)), ("test", range(50, 80))]
    pack = make_pack([(value % 2, split, value) for split, values in own for value in values])
    counts = Counter(assign_splits(pack, make_params().split, 0).splits.tolist())
    assert counts == {"train": 30, "val": 20, "test": 30, "left_out": 20}


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        (
            [20, 1],
            {},
            "data/raw: class 'class 1' has 1 distinct image to split, but needs 3: one each to train on, to validate and to test; add 2,",
        ),
        (
            [20, 20],
            {"test_fraction": 0.01},
            "params.yaml: split.test_fraction: gives 0 of 40 images, fewer than one for each of the 2 classes; raise it to 0.05, or",
        ),
        (
            [20, 20],
            {"test_fraction": 0.5, "val_fraction": 0.499},
            "params.yaml: split.val_fraction: leaves 0 of 20 images, fewer than one for each of the 2 classes; lower it",
        ),
        ([200, 2], {"test_fraction": 0.1}, "class 'class 1' has 2 distinct images to split, but needs 3: one each to train on, "),
        ([200, 2, 1], {}, "and to test (too few, too: 'class 2' 1); add 1, or remove the class"),
        ([200, 2], {"method": "stable"}, "class 'class 1' has 2 distinct images to split, but needs 3"),
        (
            [200, 4],
            {"folds": 5},
            "but needs 6: one for each of 5 folds, and one to test; add 2, lower split.folds to 3, or remove",
        ),
        ([200, 2], {"folds": 5}, "but needs 6: one for each of 5 folds, and one to test; add 4, or remove the class"),
    ],
)
def test_too_few_images(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], counts: list[int], changes: dict[str, Any], message: str
) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    pack = make_pack([(label, "train", number) for number, label in enumerate(labels)])
    with pytest.raises(InputError) as caught:
        assign_splits(pack, make_params({f"split.{key}": value for key, value in changes.items()}).split, 0)
    assert message in str(caught.value)


def test_a_class_whose_images_are_all_tested_on(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack(
        [(number % 2, "train", number) for number in range(20)] + [(1, "test", number) for number in range(1, 20, 2)]
    )
    with pytest.raises(
        InputError,
        match=r"class 'class 1' has 0 distinct images to split \(its training images are all in val or test, too\), but needs 2: ",
    ):
        assign_splits(pack, make_params().split, 0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [(number % 2, "train", number) for number in range(60)] + [(0, "test", number) for number in range(60, 70)],
            "data/split: class 'class 1' has no image in test; add images of it, or remove the class",
        ),
        (
            [(number % 2, split, number) for split, start in [("val", 0), ("test", 20)] for number in range(start, start + 20)]
            + [(0, "train", number) for number in range(40, 60)]
            + [(1, "train", number) for number in range(21, 40, 2)],
            "data/split: class 'class 1' has no image in train except duplicates, which are left out; add images of it, or remove",
        ),
        (
            [(int(number > 60), "train", number) for number in range(63)],
            "data/raw: class 'class 1' has 2 distinct images to split, but needs 3: one each to train on, to validate and to test",
        ),
    ],
)
def test_a_class_that_a_split_lacks(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params], images: list[Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        assign_splits(make_pack(images), make_params().split, 0)
    assert message in str(caught.value)


def test_a_class_that_a_fold_lacks(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    images = [(int(number >= 36), "train", number) for number in range(40)]
    images += [(number % 2, "test", number) for number in range(40, 60)]
    pack = make_pack(images, [f"group {number // 4}" for number in range(60)])
    with pytest.raises(InputError) as caught:
        assign_splits(pack, make_params({"split.folds": 5}).split, 0)
    needs = "but needs 2: one each to train on and to validate; add 1, or remove the class"
    assert str(caught.value) == f"data/raw: class 'class 1' has 1 distinct group to split, {needs}"


def photo(seed: int, *, quality: int | None = None, brighter: int = 0) -> np.ndarray[Any, Any]:
    """Return 64 by 64 pixels of noise, on request as a JPEG of some quality gives them back."""
    noise = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    image = Image.fromarray(noise).resize((64, 64), Image.Resampling.BICUBIC).point(lambda value: value * 0.8 + brighter)
    if quality:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        image = Image.open(file)
    return np.array(image)


def sides(splits: Any, names: list[Any]) -> dict[Any, set[str]]:
    found: dict[Any, set[str]] = {}
    for name, split in zip(names, splits, strict=True):
        found.setdefault(name, set()).add(str(split))
    return found


@pytest.mark.parametrize("method", ["stratified", "stable"])
def test_groups_stand_on_one_side(method: str, make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    groups = [f"patient {number // 5}" if number % 50 else None for number in range(1000)]
    pack = make_pack([(number % 3, "train", number) for number in range(1000)], groups)
    splits = assign_splits(pack, make_params({"split.method": method}).split, 0).splits
    where = sides(splits, groups)
    assert all(len(names) == 1 for group, names in where.items() if group)
    counts = Counter(splits.tolist())
    assert counts["test"] == pytest.approx(200, abs=10 if method == "stratified" else 60)
    assert counts["val"] == pytest.approx(100, abs=10 if method == "stratified" else 45)


def test_groups_are_found_in_ids(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack([(number % 2, "train", number) for number in range(600)])
    splits = assign_splits(pack, make_params({"split.group_pattern": "^(....)"}).split, 0).splits
    where = sides(splits, [name[:4] for name in pack.ids])
    assert len(where) == 60
    assert all(len(names) == 1 for names in where.values())
    with pytest.raises(
        InputError, match=r"split\.group_pattern: \^\(0000\)\. does not match '00010'; write one that matches every id"
    ):
        assign_splits(pack, make_params({"split.group_pattern": "^(0000)."}).split, 0)


def test_a_group_and_its_duplicates_stand_on_one_side(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    # The first image of every group is also in the next one, up to the tenth.
    images = [number if number % 5 or number // 5 % 10 == 9 else number + 6 for number in range(500)]
    groups = [str(number // 5) for number in range(500)]
    pack = make_pack([(number % 2, "train", image) for number, image in enumerate(images)], groups)
    splits = assign_splits(pack, make_params().split, 0).splits
    assert all(len(names) == 1 for names in sides(splits, [number // 50 for number in range(500)]).values())


def test_a_group_in_two_splits_of_the_source_is_refused(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params]
) -> None:
    own = ["train"] * 40 + ["test"] * 20
    pack = make_pack(
        [(number % 2, split, number) for number, split in enumerate(own)], [str(number % 30) for number in range(60)]
    )
    with pytest.raises(InputError, match=r"^data/raw: '000.*' and '000.*' are in one group, but in train and test of the source"):
        assign_splits(pack, make_params().split, 0)


def test_too_few_groups(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack([(number % 2, "train", number) for number in range(60)], [str(number % 3) for number in range(60)])
    with pytest.raises(
        InputError, match=r"split\.test_fraction: needs 5 groups, which are never split, but the training images have only 3; use"
    ):
        assign_splits(pack, make_params().split, 0)


def test_groups_that_share_images(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    # Every group holds the first image of the next.
    images = [10 * (number // 10 + 1) if number % 10 == 9 and number < 90 else number for number in range(100)]
    pack = make_pack([(number % 2, "train", image) for number, image in enumerate(images)], [str(n // 10) for n in range(100)])
    message = r"have only 1 \(groups that share images count as one; split\.duplicates: drop avoids that\)"
    with pytest.raises(InputError, match=message):
        assign_splits(pack, make_params().split, 0)
    assert Counter(assign_splits(pack, make_params({"split.duplicates": "drop"}).split, 0).splits.tolist())["left_out"] == 9


@pytest.mark.sample(1)
@pytest.mark.parametrize("method", ["stratified", "stable"])
@pytest.mark.parametrize("grouped", [False, True])
def test_folds_are_disjoint_and_whole(
    method: str, grouped: bool, make_pack: Callable[..., Pack], make_params: Callable[..., Params]
) -> None:
    groups = [str(number // 4) for number in range(1200)] if grouped else None
    pack = make_pack([(number % 3, "train", number) for number in range(1200)], groups)
    found, tested = [], set()
    for fold in range(5):
        assignment = assign_splits(pack, make_params({"split.method": method, "split.folds": 5, "split.fold": fold}).split, 0)
        found.append(np.flatnonzero(assignment.splits == "val"))
        tested.add(tuple(np.flatnonzero(assignment.splits == "test")))
        assert (assignment.folds[found[-1]] == fold).all()
        if groups:
            assert all(len(names) == 1 for names in sides(assignment.splits, groups).values())
    assert len(tested) == 1
    (test,) = tested
    assert sorted([*np.concatenate(found).tolist(), *test]) == list(range(1200))
    assert all(len(fold) == pytest.approx(192, abs=2 if method == "stratified" and not grouped else 60) for fold in found)


def test_what_folds_cannot_be(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack([(number % 2, "val" if number % 3 == 0 else "train", number) for number in range(90)])
    with pytest.raises(InputError, match=r"split\.folds: the source has its own validation set; set it to null"):
        assign_splits(pack, make_params({"split.folds": 5}).split, 0)


def test_more_folds_than_images(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack([(int(number < 6), "train", number) for number in range(90)])
    with pytest.raises(InputError, match=r"class 'class 1' has 6 .*, but needs 9: .*; add 3, lower split\.folds to 5, or remove"):
        assign_splits(pack, make_params({"split.folds": 8}).split, 0)


def test_new_images_move_no_old_one(make_pack: Callable[..., Pack], make_params: Callable[..., Params], tmp_path: Any) -> None:
    params = make_params({"split.method": "stable"}).split
    images = [(number % 2, "train", number) for number in range(2000)]
    before = make_pack(images[:1500])
    first = dict(zip(before.pixel_hashes, assign_splits(before, params, 0).splits.tolist(), strict=True))
    (tmp_path / "raw").rename(tmp_path / "before")
    after = make_pack(images[::-1])
    assignment = assign_splits(after, params, 0)
    second = dict(zip(after.pixel_hashes, assignment.splits.tolist(), strict=True))
    assert all(second[image] == split for image, split in first.items())
    counts = Counter(assignment.splits.tolist())
    assert counts["test"] == pytest.approx(400, abs=60)
    assert counts["val"] == pytest.approx(200, abs=45)
    assert assign_splits(after, params, 1).splits.tolist() != assignment.splits.tolist()


def test_another_test_fraction_moves_nothing_out_of_val(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params]
) -> None:
    pack = make_pack([(number % 2, "train", number) for number in range(1000)])
    few, many = (
        assign_splits(pack, make_params({"split.method": "stable", "split.test_fraction": fraction}).split, 0).splits
        for fraction in (0.1, 0.3)
    )
    assert ((few == "val") == (many == "val")).all()
    assert (many[few == "test"] == "test").all()


def photos(count: int, copies: dict[int, int]) -> list[tuple[int, str, Any]]:
    """Return images of two classes, the last of them JPEGs of earlier ones: {number: copied number}."""
    return [
        (
            number % 2,
            "train",
            photo(copies.get(number, number), quality=60 if number in copies else None, brighter=10 * (number in copies)),
        )
        for number in range(count)
    ]


def test_near_duplicates_are_found_and_stand_on_one_side(
    make_pack: Callable[..., Pack], make_params: Callable[..., Params]
) -> None:
    copies = {number: number - 100 for number in range(100, 160)}
    pack = make_pack(photos(160, copies))
    for seed in range(3):
        assignment = assign_splits(pack, make_params().split, seed)
        assert sorted(map(tuple, assignment.duplicates.pairs.tolist())) == [(number - 100, number) for number in range(100, 160)]
        assert (assignment.duplicates.distances >= 0).all()
        assert all(assignment.splits[number] == assignment.splits[number - 100] for number in copies)
    apart = assign_splits(pack, make_params({"split.near_distance": None}).split, 0)
    assert len(apart.duplicates.pairs) == 0
    assert any(apart.splits[number] != apart.splits[number - 100] for number in copies)


def test_a_near_duplicate_of_the_test_set_is_left_out(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    images = photos(60, {57: 3, 58: 4, 59: 50})
    own = ["train"] * 40 + ["test"] * 20
    pack = make_pack([(label, split, pixels) for (label, _, pixels), split in zip(images, own, strict=True)])
    splits = assign_splits(pack, make_params().split, 0).splits
    assert np.flatnonzero(splits == "left_out").tolist() == [3, 4]
    assert (splits[40:] == "test").all()


@pytest.mark.parametrize(("policy", "left_out"), [("group", 0), ("report", 0), ("drop", 10)])
def test_policies(policy: str, left_out: int, make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack(photos(110, {number: number - 100 for number in range(100, 110)}))
    assignment = assign_splits(pack, make_params({"split.duplicates": policy}).split, 0)
    assert len(assignment.duplicates.pairs) == 10
    assert Counter(assignment.splits.tolist())["left_out"] == left_out
    if policy == "drop":
        assert (assignment.splits[100:] == "left_out").all()


def test_duplicates_can_be_refused(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack(photos(60, {59: 3}))
    message = r"^data/raw: '00059' looks like '00003' \(1 duplicate pair\(s\) in all\), but split\.duplicates is fail; remove the"
    with pytest.raises(InputError, match=message):
        assign_splits(pack, make_params({"split.duplicates": "fail"}).split, 0)


def test_images_that_all_look_alike_are_refused(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    alike = [photo(0) for _ in range(120)]
    for number, pixels in enumerate(alike):
        pixels[number // 60, number % 60] ^= 255
    pack = make_pack([(number % 2, "train", pixels) for number, pixels in enumerate(alike)])
    message = r"split\.near_distance: at 24 bits, 120 of 120 images are one set of near duplicates; lower it, or set it to null"
    with pytest.raises(InputError, match=message):
        assign_splits(pack, make_params().split, 0)
    assert Counter(assign_splits(pack, make_params({"split.near_distance": None}).split, 0).splits.tolist())["test"] == 24


def test_one_image_with_two_labels_is_a_conflict(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = make_pack([(number % 2, "train", number % 99) for number in range(100)])
    assignment = assign_splits(pack, make_params().split, 0)
    assert assignment.duplicates.pairs.tolist() == [[0, 99]]
    assert assignment.duplicates.conflicts(pack.labels).tolist() == [True]


@pytest.fixture
def several(make_pack: Callable[..., Pack]) -> Callable[..., Pack]:
    """Return a pack whose images have any number of five classes, in groups of four on request."""

    def make(count: int, *, grouped: bool = False) -> Pack:
        chosen = np.random.default_rng(0).random((count, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]
        labels = [tuple(np.flatnonzero(row).tolist()) for row in chosen]
        groups = [str(number // 4) for number in range(count)] if grouped else None
        return make_pack([(label, "train", number) for number, label in enumerate(labels)], groups, multilabel=True)

    return make


@pytest.mark.parametrize("grouped", [False, True])
def test_several_labels_are_stratified(grouped: bool, several: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = several(1000, grouped=grouped)
    splits = assign_splits(pack, make_params().split, 0).splits
    assert Counter(splits.tolist()) == {"train": 700, "val": 100, "test": 200}
    shares = pack.labels.mean(axis=0)
    for split in ("val", "test"):
        assert np.abs(pack.labels[splits == split].mean(axis=0) - shares).max() < (0.08 if grouped else 0.02)
    if grouped:
        assert all(len(names) == 1 for names in sides(splits, pack.groups).values())


def test_folds_of_several_labels(several: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    pack = several(600)
    assignments = [assign_splits(pack, make_params({"split.folds": 4, "split.fold": fold}).split, 0) for fold in range(4)]
    rows = np.concatenate([np.flatnonzero(assignment.splits == "val") for assignment in assignments])
    assert sorted(rows) == np.flatnonzero(assignments[0].splits != "test").tolist()
    assert all((assignment.splits == "val").sum() == pytest.approx(120, abs=2) for assignment in assignments)


def test_several_labels_that_differ_are_a_conflict(make_pack: Callable[..., Pack], make_params: Callable[..., Params]) -> None:
    labels: list[tuple[int, ...]] = [(0,), (0, 1), (1,), ()] * 30
    images = [(label, "train", number % 118) for number, label in enumerate(labels)]
    pack = make_pack(images, multilabel=True)
    assignment = assign_splits(pack, make_params().split, 0)
    assert assignment.duplicates.pairs.tolist() == [[0, 118], [1, 119]]
    assert assignment.duplicates.conflicts(pack.labels).tolist() == [True, True]
