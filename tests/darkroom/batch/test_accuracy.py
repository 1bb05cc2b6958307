"""The accuracy of predictions is over labels that the model can predict, as that of ./darkroom evaluate."""

import unicodedata
from typing import Any

import numpy as np
import pytest

from darkroom.batch.accuracy import Right, accuracy_lines, right
from darkroom.prediction.predictions import Predictions

CLASSES = ["daisy", "rosé", "unlike"]


def predictions(actual: list[str], **changes: Any) -> Predictions:
    """The first class for every image."""
    probabilities = np.tile([0.9, 0.05, 0.05], (len(actual), 1))
    return Predictions(CLASSES, [str(number) for number in range(len(actual))], probabilities, actual=actual, **changes)


def test_a_label_that_is_no_class_does_not_count() -> None:
    found = right(predictions(["daisy", "rosebush", "", "rosé", "tulip", "daisy"]))
    assert found == Right(labelled=3, right=2, unknown=2, first_unknown="rosebush")
    line = "2 of 5 labels name no class of the model and do not count in an accuracy; the first is 'rosebush'"
    assert [*accuracy_lines(found, ["daisy", "rose"])][1] == f"{line}: did you mean 'rose'?"
    none = right(predictions(["tulip"]))
    assert [*accuracy_lines(none, ["daisy"])] == [
        "1 of 1 labels name no class of the model and do not count in an accuracy; the first is 'tulip': it has daisy"
    ]
    assert [*accuracy_lines(Right(2, 1), CLASSES)] == ["accuracy 0.5000 (0.0945 to 0.9055 with 95 %) of 2 labelled images"]


def test_labels_are_spelt_as_evaluate_spells_them() -> None:
    accents = unicodedata.normalize("NFD", "rosé")
    assert right(predictions([accents, " daisy\u200b", "DAISY"])) == Right(2, 1, 1, "DAISY")


def test_what_the_model_abstains_from_is_wrong_and_unknown_is_no_class() -> None:
    """A label `unknown` would else be right whenever the model does not know."""
    found = right(predictions(["daisy", "unknown"], abstained=np.array([True, True])))
    assert found == Right(labelled=1, right=0, unknown=1, first_unknown="unknown")


@pytest.mark.parametrize(
    ("labelled", "expected"), [(None, Right(3, 1, 1, "tulip")), ([True, True, False, True], Right(2, 1, 1, "tulip"))]
)
def test_several_labels(labelled: list[bool] | None, expected: Right) -> None:
    """An image of which nothing is known is not one without labels."""
    actual = ["daisy", "daisy; rosé", "", "daisy; tulip"]
    assert right(predictions(actual, multilabel=True), labelled) == expected


def test_totals() -> None:
    assert Right.total([Right(1, 1), Right(2, 0, 1, "a"), Right(0, 0, 2, "b")]) == Right(3, 1, 3, "a")
    assert Right.total([]) == Right()
