"""What the evaluate stage writes: tables of both splits, and sheets of test images."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from darkroom.base.errors import warn
from darkroom.base.params import EvaluateParams
from darkroom.evaluation.tables import write_tables
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.scores import per_class_scores, score_of
from darkroom.reporting.sheets import contact_sheet, evenly_sampled

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
    """Write tables and `images/`; without mistakes there is no sheet of them.

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
    mistakes, samples = test.most_confident_mistakes(params.num_images), evenly_sampled(test.labels, params.num_images)
    total, wrong = len(test), int(np.count_nonzero(~test.right))
    sheets = {
        "mistakes": (mistakes, f"{len(mistakes)} of {wrong} mistakes among {total} test images, the most confident first"),
        "samples": (samples, f"{len(samples)} of {total} test images, spread over the classes"),
    }
    # The same file names always, so that `dvc plots diff` shows the sheets of two revisions side by side.
    for name, (places, title) in sheets.items():
        if len(places):
            _draw(test, places, classes, ids, read_image, title).save(images / f"{name}.png")


def _draw(
    test: Outcomes, places: NDArray[np.intp], classes: Sequence[str], ids: Sequence[str], read_image: ReadImage, title: str
) -> Image.Image:
    """Return a sheet of test images with their names, true and predicted classes."""
    if test.multilabel:
        texts = [(_listed(classes, test.labels[place]), _listed(classes, test.chosen(place))) for place in places.tolist()]
    else:
        texts = [
            (classes[int(test.labels[place])], f"{classes[int(test.chosen(place))]} {test.confidence[place]:.2f}")
            for place in places.tolist()
        ]
    named = zip(places.tolist(), texts, strict=True)
    captions = [(ids[place], f"true: {actual}", f"predicted: {each}") for place, (actual, each) in named]
    shown = [read_image(place) for place in places.tolist()]
    return contact_sheet(shown, captions, (~test.right[places]).tolist(), title=title)


def _listed(classes: Sequence[str], chosen: NDArray[np.generic]) -> str:
    return ", ".join(classes[label] for label in np.flatnonzero(chosen).tolist()) or "none"
