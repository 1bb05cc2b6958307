"""What train and evaluate record: names of files, also those of earlier versions, and their content. No numpy, no DVC."""

import json
import math
from typing import Any

# The second names are those of earlier versions. This is the only table of them.
METRICS = ("metrics/evaluate.json", "metrics/evaluate/metrics.json")
PUBLISHED = ("metrics/train.json", "metrics/train/published.json")
PREDICTIONS = "metrics/predictions.parquet"
EVALUATE, TRAIN, SPLIT = "metrics/evaluate", "metrics/train", "metrics/split"
INTERVALS = f"{EVALUATE}/intervals.json"
MODEL, WEIGHTS, RUN = "models/model.json", "models/model.safetensors", "models/run.json"
# Metrics of the published epoch. The loss of the training may be smoothed, or weighted, which that of evaluate never is.
RENAMED = {"loss": "criterion"}
Metrics = dict[str, dict[str, float]]
"""Metrics of each split."""


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping; an empty one for all else."""
    return value if isinstance(value, dict) else {}


def read_json(text: str | None) -> Any:
    """Return the content of JSON; None if it is damaged."""
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return None


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def metrics_in(content: Any) -> Metrics:
    """Return the metrics of each split in the content of evaluate.json, without what is no number."""
    splits = {str(split): values for split, values in mapping(content).items() if isinstance(values, dict)}
    return {split: {name: value for name, value in values.items() if is_number(value)} for split, values in splits.items()}


def published_in(content: Any) -> dict[str, Any]:
    """Return the published epoch, its metrics on validation and the size of the network, from the content of train.json."""
    # Before, the file had them without a name of their own.
    found = mapping(content).get("published", content)
    return {RENAMED.get(name, name): value for name, value in mapping(found).items()}
