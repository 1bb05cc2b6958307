"""What evaluate writes of single test images: the worst mistakes with their heat, and features.

N images, C channels, H by W pixels, K classes.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import InputError, described, one_line, warn
from darkroom.base.params import EvaluateParams
from darkroom.data.labels import names
from darkroom.data.pack import Pack, Rows
from darkroom.explanation.features import network_images, picture_of, write_features
from darkroom.explanation.heat import Explainer, Heat
from darkroom.explanation.overlay import Picture, image_and_overlay, png
from darkroom.inference.predictor import Predictor
from darkroom.metrics.predictions_file import EvaluatedSplit, read_predictions
from darkroom.reporting.sheets import contact_sheet

MISTAKES, FEATURES, SHEET = "mistakes.parquet", "features.parquet", "images/explained.png"
NONE = "none"
# Mistakes on the sheet; the table has all of them.
SHEET_MOST = 32
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "true", "predicted", "explained")),
        ("confidence", pa.float64()),
        *((name, pa.binary()) for name in ("image", "heat")),
    ]
)


def explain_test(
    directory: Path, predictor: Predictor, pack: Pack, rows: Rows, predictions: Path, params: EvaluateParams
) -> None:
    """Write mistakes.parquet, features.parquet and images/explained.png; a warning says what a network does not allow.

    Parameters
    ----------
    directory
        Folder to write to, metrics/evaluate.
    predictor
        The model.
    pack, rows
        The images of the test split, in the order of the predictions.
    predictions
        What was predicted, metrics/predictions.parquet.
    params
        `explained`, how many mistakes; and `batch_size`.
    """
    if not params.explained:
        return
    test = read_predictions(predictions)["test"]
    worst = worst_mistakes(test, params.explained)
    images = network_images(predictor, pack, rows[worst])
    classes = explained_classes(test, worst)
    heat = heat_or_warning(predictor, images, classes) if len(worst) else None
    pictures = [image_and_overlay(picture_of(image), None if heat is None else heat[place]) for place, image in enumerate(images)]
    _write_table(directory / MISTAKES, test, worst, classes, pictures)
    (directory / SHEET).parent.mkdir(exist_ok=True)
    few = slice(0, SHEET_MOST)
    _draw_sheet(directory / SHEET, test, worst[few], classes[few], pictures[few])
    try:
        write_features(directory / FEATURES, predictor, pack, rows, params.batch_size)
    except InputError as error:
        warn(f"metrics/evaluate/{FEATURES}: is not written: {error}")


def worst_mistakes(test: EvaluatedSplit, count: int) -> NDArray[np.intp]:
    """Return at most `count` rows of wrong predictions, the most confident first."""
    wrong = np.flatnonzero(~test.right)
    return wrong[np.argsort(-_certainty(test, wrong), kind="stable")[:count]]


def _certainty(test: EvaluatedSplit, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return how sure each wrong prediction is; of several labels its surest wrong decision is, as in mistakes.csv."""
    if test.task != "multilabel":
        return test.confidence[rows]
    probabilities, predicted, labels = test.probabilities[rows], test.predicted[rows], test.labels[rows]
    certain = np.where(predicted == labels, 0, np.where(predicted == 1, probabilities, 1 - probabilities))
    return np.asarray(certain.max(axis=1, initial=0), np.float64)


def explained_classes(predictions: EvaluatedSplit, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the class of each row whose heat is drawn: the predicted one; of several labels a wrong one, or else the surest."""
    if predictions.task != "multilabel":
        return predictions.predicted[rows].astype(np.int64)
    wrong = predictions.predicted[rows] != predictions.labels[rows]
    # Heat shows what speaks for a class: so first what is predicted wrongly, then what is missing, each the most probable.
    order: NDArray[np.float64] = predictions.probabilities[rows] + 2 * wrong + 2 * (wrong & (predictions.predicted[rows] == 1))
    return np.asarray(order.argmax(axis=1), np.int64)


def heat_or_warning(predictor: Predictor, images: Any, classes: NDArray[np.int64]) -> Heat | None:
    """Return the heat of images (N, C, H, W) for their classes, or None with a warning where the network has none.

    Networks of plug-ins may work in ways that have no gradient; that says nothing against their predictions.
    """
    network: Any = predictor.model.network
    try:
        return Explainer(network, images, predictor.decision.positive).heat(images, classes)
    except InputError as error:
        warn(f"{predictor.model.name}: {error}")
    except (RuntimeError, NotImplementedError) as error:
        warn(f"{predictor.model.name}: the heat of its images cannot be computed ({one_line(described(error))[:200]})")
    return None


def label_texts(test: EvaluatedSplit, rows: NDArray[np.intp]) -> list[tuple[str, str]]:
    """Return the true and the predicted classes of each row as text."""
    actual, predicted = (names(labels[rows], test.classes) for labels in (test.labels, test.predicted))
    return [(each or NONE, other or NONE) for each, other in zip(actual, predicted, strict=True)]


def _write_table(
    path: Path,
    test: EvaluatedSplit,
    rows: NDArray[np.intp],
    classes: NDArray[np.int64],
    pictures: list[tuple[Picture, Picture | None]],
) -> None:
    texts = label_texts(test, rows)
    content = {
        "id": [test.ids[row] for row in rows],
        "true": [actual for actual, _ in texts],
        "predicted": [predicted for _, predicted in texts],
        "explained": [test.classes[label] for label in classes],
        "confidence": _certainty(test, rows).tolist(),
        "image": [png(image) for image, _ in pictures],
        "heat": [None if drawn is None else png(drawn) for _, drawn in pictures],
    }
    with files.replaced_file(path) as temporary:
        pq.write_table(pa.table(content, SCHEMA), temporary, compression="none")  # PNG is compressed


def _draw_sheet(
    path: Path,
    test: EvaluatedSplit,
    rows: NDArray[np.intp],
    classes: NDArray[np.int64],
    pictures: list[tuple[Picture, Picture | None]],
) -> None:
    images: list[Picture | None] = []
    captions: list[tuple[str, str]] = []
    certain = _certainty(test, rows)
    for (actual, predicted), label, sure, pair in zip(label_texts(test, rows), classes, certain, pictures, strict=True):
        images += pair
        captions += [
            (f"true: {actual}", f"predicted: {predicted} {sure:.2f}"),
            ("what speaks for", test.classes[label]),
        ]
    wrong = [place % 2 == 0 for place in range(len(images))]
    title = f"{len(rows)} of {int((~test.right).sum())} mistakes, and what speaks for the wrong class"
    contact_sheet(images, captions, wrong, title=title, columns=8, group=2).save(path)
