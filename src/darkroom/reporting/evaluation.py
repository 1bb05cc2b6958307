"""All that the evaluate stage writes: the tables of both splits, and sheets of test pictures."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.params import EvaluateParams
from darkroom.reporting.scores import is_right, most_confident_mistakes, predictions
from darkroom.reporting.sheets import contact_sheet, evenly_sampled
from darkroom.reporting.tables import Answers, write_tables

ReadPicture = Callable[[int], NDArray[np.uint8]]


def write_evaluation(
    directory: Path,
    answers: Mapping[str, Answers],
    classes: Sequence[str],
    read_picture: ReadPicture,
    params: EvaluateParams,
) -> dict[str, dict[str, float]]:
    """Write metrics.json, tables and `pictures/`, and return the metrics of every split.

    Parameters
    ----------
    directory
        Where to write.
    answers
        Of the model, on `val` and `test`.
    classes
        The K class names.
    read_picture
        Given the place of a picture in the test split, returns it as (H, W, C) uint8.
    params
        Number of bins and of pictures.
    """
    metrics = write_tables(directory, answers, classes, bins=params.ece_bins)
    pictures = directory / "pictures"
    pictures.mkdir()
    test = answers["test"]
    sheets = {
        "mistakes": most_confident_mistakes(*test, params.num_pictures),
        "samples": evenly_sampled(test.labels, params.num_pictures),
    }
    # Names that stay the same, so that the sheets of two revisions stand side by side.
    for name, places in sheets.items():
        _draw(test, places, classes, read_picture, pictures / f"{name}.png")
    return metrics


def _draw(test: Answers, places: NDArray[np.intp], classes: Sequence[str], read_picture: ReadPicture, path: Path) -> None:
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
    shown = [read_picture(int(place)) for place in places]
    contact_sheet(shown, captions, (~right).tolist()).save(path)


def _listed(classes: Sequence[str], chosen: NDArray[np.generic]) -> str:
    return ", ".join(classes[label] for label in np.flatnonzero(chosen).tolist()) or "nothing"
