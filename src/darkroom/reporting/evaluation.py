"""What the evaluate stage writes: tables of both splits, and sheets of test images."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import warn
from darkroom.base.params import EvaluateParams
from darkroom.metrics.decision import Decision, Labels
from darkroom.metrics.scores import is_right, most_confident_mistakes, per_class, score
from darkroom.reporting.sheets import contact_sheet, evenly_sampled
from darkroom.reporting.tables import LabelledPredictions, write_tables

ReadImage = Callable[[int], NDArray[np.uint8]]
ExtraMetricsOf = Callable[[NDArray[np.float64], Labels, Decision], Mapping[str, float]]


def measure(
    predictions: Mapping[str, LabelledPredictions], extra: ExtraMetricsOf, params: EvaluateParams
) -> dict[str, dict[str, float]]:
    """Return the metrics of every split, the default ones and those of `extra`; a NaN is left out with a warning."""
    metrics = {name: score(*each, bins=params.ece_bins) | dict(extra(*each)) for name, each in predictions.items()}
    for split, values in metrics.items():
        if lost := int(np.isnan(per_class(*predictions[split]).f1).sum()):
            warn(f"metrics/evaluate.json: f1_macro: leaves out {lost} class(es) that {split} neither has nor predicts")
        for name in [name for name, value in values.items() if not math.isfinite(value)]:
            key = f"params.yaml: evaluate.metrics.{name}" if name in params.metrics else f"metrics/evaluate.json: {name}"
            warn(f"{key}: is {values.pop(name)} on {split}; it is left out there")
    return metrics


def write_evaluation(
    directory: Path,
    predictions: Mapping[str, LabelledPredictions],
    classes: Sequence[str],
    read_image: ReadImage,
    params: EvaluateParams,
) -> None:
    """Write tables and `images/`.

    Parameters
    ----------
    directory
        Folder to write to.
    predictions
        Predictions on `val` and `test`.
    classes
        The K class names.
    read_image
        Given the place of an image in the test split, returns it as (H, W, C) uint8.
    params
        Number of bins, and of images in a sheet.
    """
    write_tables(directory, predictions, classes, bins=params.ece_bins)
    images = directory / "images"
    images.mkdir()
    test = predictions["test"]
    sheets = {
        "mistakes": most_confident_mistakes(*test, count=params.num_images),
        "samples": evenly_sampled(test.labels, params.num_images),
    }
    # The same file names always, so that `dvc plots diff` shows the sheets of two revisions side by side.
    for name, places in sheets.items():
        _draw(test, places, classes, read_image, images / f"{name}.png")


def _draw(test: LabelledPredictions, places: NDArray[np.intp], classes: Sequence[str], read_image: ReadImage, path: Path) -> None:
    probabilities, labels, decision = test.probabilities[places], test.labels[places], test.decision
    right = is_right(probabilities, labels, decision)
    if labels.ndim == 2:
        chosen = decision.chosen(probabilities)
        texts = [(_listed(classes, actual), _listed(classes, each)) for actual, each in zip(labels, chosen, strict=True)]
    else:
        predicted = decision.label(probabilities)
        texts = [
            (classes[label], f"{classes[best]} {row[best]:.2f}")
            for label, best, row in zip(labels, predicted, probabilities, strict=True)
        ]
    captions = [(f"true: {actual}", f"predicted: {each}") for actual, each in texts]
    shown = [read_image(int(place)) for place in places]
    contact_sheet(shown, captions, (~right).tolist()).save(path)


def _listed(classes: Sequence[str], chosen: NDArray[np.generic]) -> str:
    return ", ".join(classes[label] for label in np.flatnonzero(chosen).tolist()) or "none"
