"""A model measured on the validation and the test split, for the stage evaluate and for `./darkroom evaluate`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from darkroom.base import paths
from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
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
        Probabilities and labels of `val` and `test`.
    metrics
        Values by name, of `val` and `test`.
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


def evaluate_model(folder: Path, params: Params, pack: Pack, split: Split) -> Evaluation:
    """Measure the model in a folder, as `evaluate` of params.yaml says.

    Raises
    ------
    InputError
        If there is no such model, or it was trained on other data.
    """
    predictor = Predictor.load(folder, params, "evaluate")
    predictor.model.check_data(data_hashes(paths.RAW, split))
    extra = build_metrics(
        "evaluate.metrics",
        params.evaluate.metrics,
        num_classes=len(split.classes),
        multilabel=predictor.model.multilabel,
        allow=params.base.allow_targets,
        decision=predictor.decision,
    )
    predictions = {}
    for name in ("val", "test"):
        rows = split.rows[name]
        found = predict_rows(predictor, pack, rows, **params.evaluate.model_dump(include={"batch_size", "tta"}))
        predictions[name] = LabelledPredictions(found, pack.labels[rows], predictor.decision)
    return Evaluation(predictions, measure(predictions, partial(measure_extra, extra), params.evaluate), predictor.record)
