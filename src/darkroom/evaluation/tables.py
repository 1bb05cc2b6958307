"""What evaluate writes for `dvc plots`: CSV tables that the templates in .dvc/plots draw. K classes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from darkroom.metrics import scores
from darkroom.metrics.outcomes import Outcomes
from darkroom.reporting.csv_table import plain_text, write_csv

# Rows of a reliability table: probabilities as the network has them, and at the temperature fitted on validation.
BEFORE, AFTER = "before", "after"


def write_tables(
    directory: Path,
    splits: Mapping[str, Outcomes],
    classes: Sequence[str],
    ids: Sequence[str],
    *,
    calibrated: Mapping[str, Outcomes] | None = None,
) -> None:
    """Write reliability_<split>.csv, and for the test split confusion.csv, per_class.csv and mistakes.csv.

    Parameters
    ----------
    directory
        Folder to write to.
    splits
        Outcomes on `val` and `test`.
    classes
        The K class names.
    ids
        Of the images of `test`.
    calibrated
        The same with calibrated probabilities.
    """
    for name, outcomes in splits.items():
        after = (calibrated or {}).get(name)
        diagrams = {BEFORE: scores.diagram(outcomes), **({AFTER: scores.diagram(after)} if after else {})}
        write_reliability(directory / f"reliability_{name}.csv", diagrams)
    test = splits["test"]
    write_confusion(directory / "confusion.csv", test, classes)
    write_per_class(directory / "per_class.csv", scores.per_class_scores(test), classes)
    write_mistakes(directory / "mistakes.csv", test, classes, ids)


def write_confusion(path: Path, outcomes: Outcomes, classes: Sequence[str]) -> None:
    """Write actual, predicted, count, num_classes: the diagonal, then the other cells that are not 0, most frequent first.

    The diagonal has every class once, in the order of the class list, which is the order in the plot; `num_classes` sets the size
    of the plot. Without the zeros the table of many classes stays small.
    """
    names = [plain_text(name) for name in classes]
    size = len(names)
    diagonal = ((name, name, number, size) for name, number in zip(names, outcomes.counts[0].tolist(), strict=True))
    cells = (each.tolist() for each in outcomes.cells())
    mistakes = ((names[actual], names[predicted], number, size) for actual, predicted, number in zip(*cells, strict=True))
    write_csv(path, ("actual", "predicted", "count", "num_classes"), [*diagonal, *mistakes])


def write_per_class(path: Path, per_class: scores.PerClass, classes: Sequence[str]) -> None:
    """Write class, precision, recall, f1, support, in the order of the class list; an undefined score is an empty cell."""
    columns = (["" if value != value else value for value in column.tolist()] for column in per_class)
    rows = zip(map(plain_text, classes), *columns, strict=True)
    write_csv(path, ("class", "precision", "recall", "f1", "support"), rows)


def write_reliability(path: Path, diagrams: Mapping[str, scores.Reliability]) -> None:
    """Write bin (from 1), confidence, accuracy, count, and whether that is before or after calibration.

    Bins without images are left out.
    """
    rows = (
        (*row, name)
        for name, diagram in diagrams.items()
        for row in zip(range(1, len(diagram.num_images) + 1), *(column.tolist() for column in diagram), strict=True)
        if row[-1]
    )
    write_csv(path, ("bin", "confidence", "accuracy", "count", "calibration"), rows)


def write_mistakes(path: Path, outcomes: Outcomes, classes: Sequence[str], ids: Sequence[str]) -> None:
    """Write id, true, predicted, confidence, loss of every wrong prediction, the most confident first."""
    names = [plain_text(name) for name in classes]
    rows = outcomes.most_confident_mistakes()

    def cells() -> Iterator[Sequence[object]]:
        for row in rows.tolist():
            true, predicted = (_named(each, names) for each in (outcomes.labels[row], outcomes.chosen(row)))
            numbers = (f"{outcomes.confidence[row]:.4f}", f"{outcomes.losses[row]:.4f}")
            yield plain_text(ids[row]), true, predicted, *numbers

    write_csv(path, ("id", "true", "predicted", "confidence", "loss"), cells())


def _named(labels: object, names: Sequence[str]) -> str:
    """Return the name of a label, or of those that are 1 in (K,)."""
    flags = np.asarray(labels)
    return names[int(flags)] if flags.ndim == 0 else "; ".join(names[label] for label in np.flatnonzero(flags).tolist())
