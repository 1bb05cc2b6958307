"""A model measured on the validation and the test split, for the stage evaluate and for `./darkroom evaluate`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from darkroom.base import files
from darkroom.base.params import EvaluateParams, Params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.evaluation.foreign_images import ForeignImages
from darkroom.evaluation.headline import write_headline
from darkroom.evaluation.report import measure, write_evaluation
from darkroom.evaluation.written_predictions import Images, PredictionsFile, described
from darkroom.inference.predict import Passing, iterate_rows
from darkroom.inference.predictor import OpenModel, Predictor
from darkroom.metrics.calibrator import Calibrator
from darkroom.metrics.extra import build_metrics
from darkroom.metrics.intervals import intervals_json
from darkroom.metrics.outcomes import MOST_CLASSES, Outcomes, OutcomesBuilder, Predicted
from darkroom.models.model_json import data_hashes


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes
    ----------
    predictor
        The model that was measured.
    images
        The images of each part, such as `val` and `test`.
    predictions
        What is kept of the predictions for each part.
    calibrated
        The same with calibrated probabilities; empty if there is no part `val` to calibrate on.
    calibrator
        What was fitted on `val`, if there is such a part.
    metrics
        Values by name, of each part.
    """

    predictor: Predictor
    images: Mapping[str, Images]
    predictions: Mapping[str, Outcomes]
    calibrated: Mapping[str, Outcomes]
    calibrator: Calibrator | None
    metrics: Mapping[str, Mapping[str, float]]

    @property
    def backend(self) -> Mapping[str, str]:
        """How the probabilities were computed."""
        return self.predictor.record

    def lines(self) -> Iterator[str]:
        """Yield the metrics of each split on one line."""
        for name, values in self.metrics.items():
            yield f"evaluate: {name}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in values.items())

    @property
    def calibration(self) -> dict[str, Any]:
        """The content of calibration.json."""
        assert self.calibrator is not None, "there is no part val"
        return self.calibrator.as_json()

    def ids(self, name: str) -> list[str]:
        """Return the ids of the images of a part."""
        return [self.images[name].pack.ids[row] for row in self.images[name].rows]

    def intervals(self) -> dict[str, Any]:
        """Return the content of intervals.json."""
        columns = {name: dict(described(*each).columns) for name, each in self.images.items()}
        for each in columns.values():
            if all(name is None for name in each["group"]):
                del each["group"]
        groups = {name: each["group"] for name, each in columns.items() if "group" in each}
        of_test = columns.get("test", {})
        classes = self.predictor.model.card.classes
        return intervals_json(self.predictions, classes, of_test, groups, self.calibrator, self.calibrated)


def evaluate_model(
    model: Path | OpenModel,
    params: Params,
    pack: Pack,
    split: Split,
    names: Sequence[str] = ("val", "test"),
    *,
    predictions: Path | None = None,
) -> Evaluation:
    """Measure a model, a folder or what opens one, on splits of its own data, as `evaluate` of params.yaml says.

    `predictions` is a file to write what is predicted for each image to, see `PredictionsWriter`.

    Raises
    ------
    InputError
        If there is no such model, or it was trained on other data.
    """
    predictor = Predictor.load(model, params, "evaluate")
    predictor.model.check_data(data_hashes(pack.directory, split))
    images = {name: Images(pack, split.rows[name], pack.labels[split.rows[name]]) for name in dict.fromkeys((*names, "train"))}
    parts = {name: images[name] for name in names}
    return evaluate_images(predictor, params, parts, predictions=predictions, train=images["train"])


def evaluate_images(
    predictor: Predictor,
    params: Params,
    parts: Mapping[str, Images],
    *,
    predictions: Path | None = None,
    train: Images | None = None,
) -> Evaluation:
    """Measure a model on labelled images, by the name of each part; it calibrates on `val`, which comes first.

    `train` are the images that it was trained on, which `evaluate.false_alarms` needs.
    """
    card = predictor.model.card
    extra = build_metrics(
        "evaluate.metrics",
        params.evaluate.metrics,
        num_classes=len(card.classes),
        multilabel=predictor.model.multilabel,
        allow=params.base.allow_targets,
        decision=predictor.decision,
        classes=card.classes,
    )
    found: dict[str, Outcomes] = {}
    calibrated: dict[str, Outcomes] = {}
    measured: dict[str, Mapping[str, float]] = {}
    calibrator = _calibrator(predictor, params, len(parts["val"].rows)) if "val" in parts else None
    foreign = _foreign(predictor, params, train) if calibrator is not None and train is not None else None
    with ExitStack() as stack:
        writer = stack.enter_context(PredictionsFile(predictions, predictor, params, parts)) if predictions else None
        for name, each in parts.items():
            seen_by: list[See] = [
                lambda _, batch: extra.add(torch.from_numpy(batch.probabilities), torch.from_numpy(batch.labels))
            ]
            if calibrator is not None and len(card.classes) > MOST_CLASSES:
                seen_by.append(partial(calibrator.add, name))
            if writer is not None:
                seen_by.append(partial(writer.add, name))
            found[name] = _outcomes(predictor, params, each, seen_by, partial(foreign.passing, name) if foreign else iter)
            if calibrator is not None:
                if name == "val":
                    calibrator.fit(found[name])
                calibrated[name] = calibrator.calibrated(name, found[name])
            measured[name] = extra.take_values()
    if calibrator is not None and foreign is not None:
        calibrator.add_foreign(*foreign.finish())
    for name, values in (calibrator.per_image if calibrator else {}).items():
        measured[name] = {**measured[name], **{key: float(each.mean()) for key, each in values.items()}}
    metrics = measure(found, measured, params.evaluate)
    return Evaluation(predictor, parts, found, calibrated, calibrator, metrics)


def _calibrator(predictor: Predictor, params: Params, num_images: int) -> Calibrator:
    card = predictor.model.card
    return Calibrator(
        card.classes,
        predictor.decision,
        multilabel=predictor.model.multilabel,
        bins=params.evaluate.ece_bins,
        num_images=num_images,
        weights_sha256=card.weights_sha256,
        wanted=params.evaluate.abstain_precision,
        coverage=params.evaluate.conformal,
    )


def _foreign(predictor: Predictor, params: Params, train: Images) -> ForeignImages | None:
    rate = params.evaluate.false_alarms
    return None if rate is None else ForeignImages(predictor, train, rate, params.evaluate.batch_size)


See = Callable[[int, Predicted], None]
"""What sees a batch, after the place of its first image."""


def _outcomes(predictor: Predictor, params: Params, images: Images, seen_by: Sequence[See], passing: Passing = iter) -> Outcomes:
    """Predict the images of a part in batches, each of which is passed on and forgotten."""
    evaluate = params.evaluate
    builder = OutcomesBuilder(
        len(predictor.model.card.classes), predictor.decision, multilabel=predictor.model.multilabel, bins=evaluate.ece_bins
    )
    start = 0
    how: dict[str, Any] = {"batch_size": evaluate.batch_size, "tta": evaluate.tta}
    for probabilities in iterate_rows(predictor, images.pack, images.rows, **how, passing=passing):
        batch = builder.add(probabilities, images.labels[start : start + len(probabilities)])
        for see in seen_by:
            see(start, batch)
        start += len(probabilities)
    return builder.finish()


def write_results(directory: Path, found: Evaluation, params: EvaluateParams) -> None:
    """Write metrics/evaluate: tables, sheets, intervals and what the plots page has on top."""
    test = found.images["test"]
    files.write_json(directory / "backend.json", found.backend)
    intervals = found.intervals()
    files.write_json(directory / "intervals.json", intervals)
    num_images = {split: len(each) for split, each in found.predictions.items()}
    write_headline(directory / "headline.csv", found.metrics, intervals, num_images)
    write_evaluation(
        directory,
        found.predictions,
        found.predictor.model.card.classes,
        found.ids("test"),
        lambda place: test.pack.shown(test.rows[place]),
        params,
        calibrated=found.calibrated,
    )
