"""What the evaluate stage writes: tables of both splits, and sheets of test images."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import warn
from darkroom.base.params import EvaluateParams
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.scores import per_class_scores, score_of
from darkroom.reporting.sheets import contact_sheet, evenly_sampled
from darkroom.reporting.tables import write_tables

ReadImage = Callable[[int], NDArray[np.uint8]]


def measure(
    outcomes: Mapping[str, Outcomes], extra: Mapping[str, Mapping[str, float]], params: EvaluateParams
) -> dict[str, dict[str, float]]:
    """Return the metrics of every split, the default ones and the `extra` ones; a NaN is left out with a warning."""
    metrics = {name: score_of(each) | dict(extra[name]) for name, each in outcomes.items()}
    for split, values in metrics.items():
        if lost := int(np.isnan(per_class_scores(outcomes[split]).f1).sum()):
            warn(f"metrics/evaluate.json: f1_macro: leaves out {lost} class(es) that {split} neither has nor predicts")
        for name in [name for name, value in values.items() if not math.isfinite(value)]:
            key = f"params.yaml: evaluate.metrics.{name}" if name in params.metrics else f"metrics/evaluate.json: {name}"
            warn(f"{key}: is {values.pop(name)} on {split}; it is left out there")
    return metrics


def write_evaluation(
    directory: Path,
    outcomes: Mapping[str, Outcomes],
    classes: Sequence[str],
    ids: Sequence[str],
    read_image: ReadImage,
    params: EvaluateParams,
    *,
    calibrated: Mapping[str, Outcomes] | None = None,
) -> None:
    """Write tables and `images/`.

    Parameters
    ----------
    directory
        Folder to write to.
    outcomes
        On `val` and `test`.
    classes
        The K class names.
    ids
        Of the images in the test split.
    read_image
        Given the place of an image in the test split, returns it as (H, W, C) uint8.
    params
        Number of images in a sheet.
    calibrated
        Outcomes with calibrated probabilities.
    """
    write_tables(directory, outcomes, classes, ids, calibrated=calibrated)
    images = directory / "images"
    images.mkdir()
    test = outcomes["test"]
    sheets = {
        "mistakes": test.most_confident_mistakes(params.num_images),
        "samples": evenly_sampled(test.labels, params.num_images),
    }
    # The same file names always, so that `dvc plots diff` shows the sheets of two revisions side by side.
    for name, places in sheets.items():
        _draw(test, places, classes, read_image, images / f"{name}.png")


def _draw(test: Outcomes, places: NDArray[np.intp], classes: Sequence[str], read_image: ReadImage, path: Path) -> None:
    if test.multilabel:
        texts = [(_listed(classes, test.labels[place]), _listed(classes, test.chosen(place))) for place in places.tolist()]
    else:
        texts = [
            (classes[int(test.labels[place])], f"{classes[int(test.chosen(place))]} {test.confidence[place]:.2f}")
            for place in places.tolist()
        ]
    captions = [(f"true: {actual}", f"predicted: {each}") for actual, each in texts]
    shown = [read_image(place) for place in places.tolist()]
    contact_sheet(shown, captions, (~test.right[places]).tolist()).save(path)


def _listed(classes: Sequence[str], chosen: NDArray[np.generic]) -> str:
    return ", ".join(classes[label] for label in np.flatnonzero(chosen).tolist()) or "none"
