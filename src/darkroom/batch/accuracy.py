"""How many predictions are right, over the images whose label is a class of the model. No torch."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from darkroom.base.errors import listed, nearest
from darkroom.data.labels import SEPARATOR, clean_name
from darkroom.data.listing import printable
from darkroom.metrics.bootstrap import wilson

if TYPE_CHECKING:
    from darkroom.prediction.predictions import Predictions


class Right(NamedTuple):
    """How many images with a label are predicted right. A label that is no class of the model cannot be, and does not count."""

    labelled: int = 0
    """Images whose labels are all classes of the model."""
    right: int = 0
    unknown: int = 0
    """Images with a label that is none."""
    first_unknown: str | None = None
    """The first such label."""

    @classmethod
    def total(cls, parts: Iterable["Right"]) -> "Right":
        """Return the counts of all parts together."""
        every = list(parts)
        first = next((part.first_unknown for part in every if part.first_unknown is not None), None)
        labelled, right = sum(part.labelled for part in every), sum(part.right for part in every)
        return cls(labelled, right, sum(part.unknown for part in every), first)


def right(predictions: "Predictions", is_labelled: Sequence[bool] | None = None) -> Right:
    """Compare what is predicted with the labels of images, spelt as `darkroom evaluate` compares them.

    `is_labelled` (N,) says which images have a label; of several labels the empty one is a label, too. None: all have, but for
    empty ones.
    """
    found, known = list[Right](), {clean_name(name): name for name in predictions.classes}
    if predictions.actual is None:
        return Right()
    if predictions.multilabel:
        predicted = predictions.chosen
        actual = [[clean_name(name) for name in text.split(SEPARATOR) if name] for text in predictions.actual]
    else:
        predicted = [[predictions.named(number, top[0][0])] for number, top in enumerate(predictions.most_probable(1))]
        actual = [[clean_name(text)] for text in predictions.actual]
        is_labelled = list(map(bool, predictions.actual))
    for number, (names, chosen) in enumerate(zip(actual, predicted, strict=True)):
        if is_labelled is not None and not is_labelled[number]:
            continue
        unknown = next((name for name in names if name not in known), None)
        if unknown is None:
            found.append(Right(labelled=1, right=int({known[name] for name in names} == set(chosen))))
        else:
            found.append(Right(unknown=1, first_unknown=unknown))
    return Right.total(found)


def accuracy_lines(found: Right, classes: Sequence[str]) -> Iterator[str]:
    """Yield the accuracy with its interval, and how many labels are none of a model's classes, with the first of them."""
    if found.labelled:
        low, high = wilson(found.right / found.labelled, found.labelled)
        interval = f"({low:.4f} to {high:.4f} with 95 %)"
        yield f"accuracy {found.right / found.labelled:.4f} {interval} of {found.labelled} labelled images"
    if found.first_unknown is not None:
        first = f"the first is '{printable(found.first_unknown)}'"
        advice = nearest(found.first_unknown, classes, f"it has {listed(map(printable, classes))}")
        yield (
            f"{found.unknown} of {found.labelled + found.unknown} labels name no class of the model and do not count in an "
            f"accuracy; {first}: {advice}"
        )
