"""A model measured on the validation and the test split, for the stage evaluate and for `./darkroom evaluate`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from darkroom.base.params import Params
from darkroom.data.labels import Labels
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import OpenModel, Predictor
from darkroom.metrics.extra import build_metrics, measure_extra
from darkroom.metrics.predictions_file import GIVEN, About
from darkroom.metrics.predictions_writer import ImagesOf, PredictionsWriter
from darkroom.models.model_json import data_hashes
from darkroom.reporting.evaluation import measure
from darkroom.reporting.tables import LabelledPredictions

ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes
    ----------
    predictor
        The model that was measured.
    images
        The images of each part, such as `val` and `test`.
    about
        What is predicted.
    predictions
        Probabilities and labels of each part.
    metrics
        Values by name, of each part.
    backend
        How the probabilities were computed.
    """

    predictor: Predictor
    images: Mapping[str, "Images"]
    about: About
    predictions: Mapping[str, LabelledPredictions]
    metrics: Mapping[str, Mapping[str, float]]
    backend: Mapping[str, str]

    def lines(self) -> Iterator[str]:
        """Yield the metrics of each split on one line."""
        for name, values in self.metrics.items():
            yield f"evaluate: {name}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in values.items())

    def write_predictions(self, path: Path) -> None:
        """Write a row for every image; see `PredictionsWriter`."""
        with PredictionsWriter(path, self.about) as writer:
            for name, (probabilities, labels, _) in self.predictions.items():
                images = self.images[name]
                for start in range(0, len(labels), ROWS_AT_ONCE):
                    part = slice(start, start + ROWS_AT_ONCE)
                    writer.add(name, described(images.pack, images.rows[part], labels[part]), probabilities[part])


class Images(NamedTuple):
    """Labelled images to measure a model on: rows of a pack, and their labels as the model numbers its classes."""

    pack: Pack
    rows: Rows
    labels: Labels


def evaluate_model(
    model: Path | OpenModel, params: Params, pack: Pack, split: Split, names: Sequence[str] = ("val", "test")
) -> Evaluation:
    """Measure a model, a folder or what opens one, on splits of its own data, as `evaluate` of params.yaml says.

    Raises
    ------
    InputError
        If there is no such model, or it was trained on other data.
    """
    predictor = Predictor.load(model, params, "evaluate")
    predictor.model.check_data(data_hashes(pack.directory, split))
    return evaluate_images(
        predictor, params, {name: Images(pack, split.rows[name], pack.labels[split.rows[name]]) for name in names}
    )


def evaluate_images(predictor: Predictor, params: Params, parts: Mapping[str, Images]) -> Evaluation:
    """Measure a model on labelled images, by the name of each part."""
    extra = build_metrics(
        "evaluate.metrics",
        params.evaluate.metrics,
        num_classes=len(predictor.model.card.classes),
        multilabel=predictor.model.multilabel,
        allow=params.base.allow_targets,
        decision=predictor.decision,
        classes=predictor.model.card.classes,
    )
    viewed = params.evaluate.model_dump(include={"batch_size", "tta"})
    predictions = {
        name: LabelledPredictions(predict_rows(predictor, each.pack, each.rows, **viewed), each.labels, predictor.decision)
        for name, each in parts.items()
    }
    about = About(predictor.model.card.classes, predictor.model.card.task, predictor.decision, _columns(parts))
    return Evaluation(
        predictor,
        parts,
        about,
        predictions,
        measure(predictions, partial(measure_extra, extra), params.evaluate),
        predictor.record,
    )


def described(pack: Pack, rows: Rows, labels: Labels) -> ImagesOf:
    """Return what the file of predictions says of rows of a pack, which have these labels."""
    given = pack.extra(rows)
    columns: dict[str, list[str | None]] = {"group": [pack.groups[row] for row in rows]}
    columns |= {
        GIVEN + name: [each.get(name) for each in given] for name in dict.fromkeys(name for each in given for name in each)
    }
    return ImagesOf([pack.ids[row] for row in rows], [pack.pixel_hashes[row] for row in rows], labels, columns)


def _columns(parts: Mapping[str, Images]) -> tuple[str, ...]:
    """Return the names of the columns beside that any image has."""
    given = dict.fromkeys(name for each in parts.values() for extra in each.pack.extra(each.rows) for name in extra)
    has_groups = any(each.pack.groups[row] is not None for each in parts.values() for row in each.rows)
    return (*(["group"] if has_groups else []), *(GIVEN + name for name in given))
