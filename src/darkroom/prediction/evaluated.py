"""The probabilities that evaluate computed for the test split, for predict to take over. No torch. N images, K classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom.base import files
from darkroom.base.params import PredictParams
from darkroom.metrics.predictions_file import EvaluatedSplit, read_predictions

# Settings of predict with which it would compute the same as evaluate has.
SAME = ("backend", "tta", "batch_size")


def evaluated_test_split(
    path: Path, model: Path, predict: PredictParams, data_sha256: dict[str, str], ids: Sequence[str]
) -> EvaluatedSplit | None:
    """Return what evaluate predicted for the test split, if predict would compute the same numbers.

    None if it would not: for another model or other data, with another backend, precision, batch size or test-time augmentation;
    also for more than a thousand classes, of which not all probabilities are kept, and for embeddings, which need the network.

    Parameters
    ----------
    path
        predictions.parquet.
    model
        Folder of the model.
    predict
        Section `predict`.
    data_sha256
        Hashes of data/raw and data/split.
    ids
        Of the N images of the test split.
    """
    try:
        found = read_predictions(path)["test"]
        weights = files.sha256(model / "model.safetensors")
        card = files.read_sealed_json(model / "model.json")
    except (OSError, ValueError, KeyError):
        return None  # the network is run, and what is wrong with the model is said
    how = found.about.how
    same_model = weights == card.get("weights_sha256") == how.get("weights_sha256")
    same_data = data_sha256 == how.get("data_sha256") and found.ids == list(ids)
    same = all(getattr(predict, name) == how.get(name) for name in SAME) and predict.precision in _precisions(how)
    return found if same_model and same_data and same and found.about.is_complete and not predict.embeddings else None


def _precisions(how: Any) -> tuple[Any, Any]:
    """Return the precision that evaluate was given, and the one in which it computed."""
    return how.get("precision"), how.get("record", {}).get("precision")
