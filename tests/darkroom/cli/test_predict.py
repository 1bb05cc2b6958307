"""./darkroom predict: its table, and the places where it does not write. What it computes, the pipeline's tests see."""

import re

import numpy as np
import pytest

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.cli.predict import main
from darkroom.cli.predict.table import SHOWN, table_lines
from darkroom.prediction.predictions import Predictions

CLASSES = ["ant", "bee", "wild cat"]


def test_a_few_images_are_a_readable_table() -> None:
    found = Predictions(CLASSES, ["a.jpg", "folder/b.jpg"], np.array([[0.2, 0.7, 0.1], [0.05, 0.05, 0.9]]))
    assert list(table_lines(found, 2)) == [
        "path          class     probability  class 2",
        "a.jpg         bee       0.7000       ant      0.2000",
        "folder/b.jpg  wild cat  0.9000       ant      0.0500",
    ]
    # More classes are asked for than there are.
    assert list(table_lines(found, 5))[1].split() == ["a.jpg", "bee", "0.7000", "ant", "0.2000", "wild", "cat", "0.1000"]


def test_true_classes_and_several_classes_have_a_column() -> None:
    several = Predictions(CLASSES, ["a", "b"], np.array([[0.9, 0.7, 0.1], [0.1, 0.2, 0.3]]), ["ant; bee", ""], multilabel=True)
    header, *rows = [re.split(" {2,}", line) for line in table_lines(several, 1)]
    assert header == ["path", "true", "classes", "class", "probability"]
    assert rows[0] == ["a", "ant; bee", "ant; bee", "ant", "0.9000"]
    assert rows[1][1:] == ["none", "wild cat", "0.3000"]


def test_where_the_model_abstains_the_most_probable_class_is_a_question() -> None:
    scores = np.array([[0.2, 0.7, 0.1], [0.05, 0.05, 0.9]])
    found = Predictions(CLASSES, ["a", "b"], scores, abstained=np.array([True, False]))
    assert [re.split(" {2,}", line)[1] for line in table_lines(found, 1)] == ["class", "unknown: bee?", "wild cat"]


def test_of_many_images_the_first_are_shown() -> None:
    number = SHOWN + 3
    found = Predictions(CLASSES, [f"{each}.jpg" for each in range(number)], np.full((number, 3), 1 / 3))
    *lines, last = table_lines(found, 1)
    assert len(lines) == 1 + SHOWN
    assert last == "... and 3 more; write all of them to a file with '--out result.csv'"


def test_names_cannot_write_to_the_terminal() -> None:
    found = Predictions(["a\x1b[2J"], ["x"], np.ones((1, 1)))
    assert "\x1b" not in "".join(table_lines(found, 1))


def test_the_place_is_checked_before_anything_is_computed() -> None:
    folder = paths.MODELS if paths.MODELS.is_dir() else paths.ROOT
    with pytest.raises(InputError, match="--out: "):
        main(["nothing.jpg", "--out", str(folder / "no" / "x.csv")])
