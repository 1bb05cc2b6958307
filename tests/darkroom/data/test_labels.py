"""Labels of other images are matched by the names of their classes, never by their numbers."""

import numpy as np
import pytest

from darkroom.data.labels import matching, relabelled


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
