"""All that the evaluate stage writes: the tables of both splits, and sheets of test images."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.errors import warn
from darkroom.metrics.scores import Labels, is_right, most_confident_mistakes, predictions, score
from darkroom.params import EvaluateParams
from darkroom.reporting.sheets import contact_sheet, evenly_sampled
from darkroom.reporting.tables import Answers, write_tables

ReadImage = Callable[[int], NDArray[np.uint8]]
FurtherOf = Callable[[NDArray[np.float64], Labels], Mapping[str, float]]


def measure(answers: Mapping[str, Answers], further: FurtherOf, params: EvaluateParams) -> dict[str, dict[str, float]]:
    """Return the metrics of every split, the usual ones and those that `further` adds; what has no value is told and left out."""
    metrics = {name: score(*given, bins=params.ece_bins) | dict(further(*given)) for name, given in answers.items()}
    for split, values in metrics.items():
        for name in [name for name, value in values.items() if not math.isfinite(value)]:
            warn(f"params.yaml: evaluate.metrics.{name}: is {values.pop(name)} on {split}; it is left out there")
    return metrics


def write_evaluation(
    directory: Path,
    answers: Mapping[str, Answers],
    classes: Sequence[str],
    metrics: Mapping[str, Mapping[str, float]],
    read_image: ReadImage,
    params: EvaluateParams,
) -> None:
    """Write metrics.json, tables and `images/`.

    Parameters
    ----------
    directory
        Where to write.
    answers
        Of the model, on `val` and `test`.
    classes
        The K class names.
    metrics
        Of every split, as `measure` returns them.
    read_image
        Given the place of an image in the test split, returns it as (H, W, C) uint8.
    params
        Number of bins and of images.
    """
    write_tables(directory, answers, classes, metrics, bins=params.ece_bins)
    images = directory / "images"
    images.mkdir()
    test = answers["test"]
    sheets = {
        "mistakes": most_confident_mistakes(*test, params.num_images),
        "samples": evenly_sampled(test.labels, params.num_images),
    }
    # Names that stay the same, so that the sheets of two revisions stand side by side.
    for name, places in sheets.items():
        _draw(test, places, classes, read_image, images / f"{name}.png")


def _draw(test: Answers, places: NDArray[np.intp], classes: Sequence[str], read_image: ReadImage, path: Path) -> None:
    probabilities, labels = test.probabilities[places], test.labels[places]
    right = is_right(probabilities, labels)
    if labels.ndim == 2:
        said = predictions(probabilities, labels)
        captions = [
            (f"is {_listed(classes, actual)}", f"said {_listed(classes, each)}")
            for actual, each in zip(labels, said, strict=True)
        ]
    else:
        predicted = probabilities.argmax(axis=1)
        captions = [
            (f"is {classes[label]}", f"said {classes[best]} {row[best]:.2f}")
            for label, best, row in zip(labels, predicted, probabilities, strict=True)
        ]
    shown = [read_image(int(place)) for place in places]
    contact_sheet(shown, captions, (~right).tolist()).save(path)


def _listed(classes: Sequence[str], chosen: NDArray[np.generic]) -> str:
    return ", ".join(classes[label] for label in np.flatnonzero(chosen).tolist()) or "nothing"
