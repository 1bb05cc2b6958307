"""Labels of other images are matched by the names of their classes, never by their numbers."""

import numpy as np
import pytest

from darkroom.data.labels import clean_name, matching, relabelled, twins


def test_names_are_matched_after_normalisation_and_never_by_place() -> None:
    places = matching(["zebra", "cafe\u0301", "ant"], ["ant", "caf\u00e9", "bee"])
    assert places == [None, 1, 0]
    is_known, labels = relabelled(np.array([0, 1, 2, 2, 0]), places, 3)
    assert is_known.tolist() == [False, True, True, True, False]
    assert labels.tolist() == [1, 0, 0]


def test_several_labels_are_moved_and_images_with_an_unknown_one_left_out() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1]], np.uint8)
    is_known, moved = relabelled(labels, [None, 1, 0], 3)
    assert is_known.tolist() == [False, True, True, True]
    assert moved.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_two_classes_with_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two classes are called 'caf"):
        matching(["cafe\u0301", "caf\u00e9"], ["caf\u00e9"])


@pytest.mark.parametrize(
    "name",
    [
        "caf\u00e9 noir",
        "cafe\u0301 noir",
        " caf\u00e9 noir ",
        "caf\u00e9\u00a0noir",
        "caf\u00e9\u200b noir",
        "\ufeffcaf\u00e9  noir\t",
        "caf\u00e9\u3000noir",
        "caf\u00e9 noir\u200d",
        "caf\u00e9 no\u00adir\u200e",
    ],
)
def test_names_that_look_the_same_are_the_same(name: str) -> None:
    assert clean_name(name) == "caf\u00e9 noir"


@pytest.mark.parametrize(
    "name", ["Cat", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f373", "\udcff", "\ufb01"]
)
def test_names_that_do_not_stay_as_they_are(name: str) -> None:
    assert clean_name(name) == name


def test_twins_differ_in_capitals() -> None:
    assert twins(["CAT", "Cat", "dog", "cat", "STRASSE", "stra\u00dfe"]) == [
        ("CAT", "Cat"),
        ("CAT", "cat"),
        ("STRASSE", "stra\u00dfe"),
    ]
