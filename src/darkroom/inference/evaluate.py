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
from darkroom.models.model_json import data_hashes
from darkroom.reporting.evaluation import measure
from darkroom.reporting.tables import LabelledPredictions


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes
    ----------
    predictions
        Probabilities and labels of each part, such as `val` and `test`.
    metrics
        Values by name, of each part.
    backend
        How the probabilities were computed.
    """

    predictions: Mapping[str, LabelledPredictions]
    metrics: Mapping[str, Mapping[str, float]]
    backend: Mapping[str, str]

    def lines(self) -> Iterator[str]:
        """Yield the metrics of each split on one line."""
        for name, values in self.metrics.items():
            yield f"evaluate: {name}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in values.items())


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
    return Evaluation(predictions, measure(predictions, partial(measure_extra, extra), params.evaluate), predictor.record)
