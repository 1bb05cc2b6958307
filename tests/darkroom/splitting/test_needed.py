"""What a split needs is said at once, and what is advised works."""

import re
import shutil
from collections.abc import Callable

import numpy as np
import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import Params, SplitParams
from darkroom.data.pack import Pack
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.needed import too_few


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("folds", [None, 4])
def test_following_the_advice_ends_in_a_split(
    seed: int, folds: int | None, make_pack: Callable[..., Pack], make_params: Callable[..., Params]
) -> None:
    """A few labels of each of many classes, as after a round or two of ./darkroom labels next."""
    counts = np.random.default_rng(seed).integers(1, 9, 12).tolist()
    changes: dict[str, float | int | None] = {"split.folds": folds}
    for _ in range(20):
        params = make_params(changes).split
        labels = [label for label, count in enumerate(counts) for _ in range(count)]
        pack = make_pack([(label, "train", number) for number, label in enumerate(labels)])
        shutil.rmtree(pack.directory)
        said = too_few({name: counts[label] for label, name in enumerate(pack.classes)}, params)
        error = refusal(pack, params)
        assert bool(said) == bool(error), (said, error)
        if error is None:
            return
        if match := re.search(r"class 'class (\d+)' has \d+ distinct images? to split, but needs .*; add (\d+)", error):
            counts[int(match[1])] += int(match[2])
        else:
            match = re.fullmatch(r"params\.yaml: (\S+): .*; raise it to (\S+), or add images", error)
            assert match is not None, error
            assert f"add -S {match[1]}={match[2]}" in "".join(said)
            changes[match[1]] = float(match[2])
    pytest.fail("the advice leads nowhere")


def refusal(pack: Pack, params: SplitParams) -> str | None:
    try:
        splits = assign_splits(pack, params, 0).splits
    except InputError as error:
        return str(error)
    assert all(set(splits[pack.labels == label]) == {"train", "val", "test"} for label in range(len(pack.classes)))
    return None


def test_what_labels_lack_is_said_by_class(make_params: Callable[..., Params]) -> None:
    params = make_params().split
    assert too_few({}, params) == []
    assert too_few({"rose": 2, "daisy": 9, "tulip": 1}, params) == [
        "each class needs 3 labels to be split, one each to train on, to validate and to test; too few so far: rose (2), tulip (1)"
    ]
    assert too_few(dict.fromkeys("abcdefghijkl", 5), params) == [
        "split.val_fraction 0.1 of 60 labels is fewer than one for each of 12 classes; add -S split.val_fraction=0.2"
    ]
    assert too_few(dict.fromkeys("abcdefghijkl", 10), params) == []
    assert too_few({"a": 3, "b": 9}, make_params({"split.folds": 5}).split) == [
        "each class needs 6 labels to be split, one for each of 5 folds, and one to test; too few so far: a (3)"
    ]
