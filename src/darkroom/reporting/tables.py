"""What evaluate writes for `dvc metrics` and `dvc plots`: CSV tables that the templates in .dvc/plots draw."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import one_line
from darkroom.metrics import scores
from darkroom.metrics.decision import USUAL, Decision, Labels


class LabelledPredictions(NamedTuple):
    """Predictions for the N images of a split, with their labels.

    Attributes
    ----------
    probabilities : (N, K) float64
    labels : (N,) int64, or (N, K) uint8
    decision
        Which classes are predicted.
    """

    probabilities: NDArray[np.float64]
    labels: Labels
    decision: Decision = USUAL


def write_tables(
    directory: Path,
    splits: Mapping[str, LabelledPredictions],
    classes: Sequence[str],
    *,
    bins: int,
) -> None:
    """Write reliability_<split>.csv, and for the test split confusion.csv and per_class.csv.

    Parameters
    ----------
    directory
        Folder to write to.
    splits
        Predictions on `val` and `test`.
    classes
        The K class names.
    bins
        Number of bins of the reliability diagram.
    """
    for name, predictions in splits.items():
        write_reliability(directory / f"reliability_{name}.csv", scores.reliability(*predictions, bins=bins))
    write_confusion(directory / "confusion.csv", scores.confusion_matrix(*splits["test"]), classes)
    write_per_class(directory / "per_class.csv", scores.per_class(*splits["test"]), classes)


def write_confusion(path: Path, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    """Write actual, predicted, count, num_classes: the diagonal, then the other cells that are not 0, most frequent first.

    The diagonal has every class once, in the order of the class list, which is the order in the plot; `num_classes` sets the size
    of the plot. Without the zeros the table of a thousand classes stays small.
    """
    names = [plain_text(name) for name in classes]
    mistakes = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-mistakes, axis=None, kind="stable")[: np.count_nonzero(mistakes)]
    cells = [(label, label) for label in range(len(names))] + [divmod(cell, len(names)) for cell in order.tolist()]
    rows = ((names[actual], names[predicted], int(matrix[actual, predicted]), len(names)) for actual, predicted in cells)
    write_csv(path, ("actual", "predicted", "count", "num_classes"), rows)


def write_per_class(path: Path, per_class: scores.PerClass, classes: Sequence[str]) -> None:
    """Write class, precision, recall, f1, support, in the order of the class list; an undefined score is an empty cell."""
    columns = (["" if value != value else value for value in column.tolist()] for column in per_class)
    rows = zip(map(plain_text, classes), *columns, strict=True)
    write_csv(path, ("class", "precision", "recall", "f1", "support"), rows)


def write_reliability(path: Path, diagram: scores.Reliability) -> None:
    """Write bin (from 1), confidence, accuracy, count; bins without images are left out."""
    columns = (column.tolist() for column in diagram)
    rows = (row for row in zip(range(1, len(diagram.num_images) + 1), *columns, strict=True) if row[-1])
    write_csv(path, ("bin", "confidence", "accuracy", "count"), rows)


def plain_text(name: str) -> str:
    """Return a class name on one line that is no formula for a spreadsheet and no HTML for a web page.

    DVC copies the text of tables unchanged into a script of its page, which `</script>` would end: so angle brackets become angle
    quotation marks.
    """
    return files.csv_text(one_line(name).translate({ord("<"): "\u2039", ord(">"): "\u203a"}))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table atomically; names that come from the data have to be passed through `plain_text` first."""
    with files.replaced_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
