"""What the files of one state of the project say: parameters, metrics, intervals, and whether they belong together."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from darkroom.base.nested import flatten
from darkroom.base.renamed import with_current_names
from darkroom.history.lock import LockedStage
from darkroom.history.yaml_blocks import read_mapping

# Sections that results depend on; `predict` changes predictions alone.
SECTIONS = ("base", "download", "split", "train", "evaluate")
SHOWN_SECTIONS = (*SECTIONS, "predict")
# Of the published epoch, and no metrics of the validation split.
OF_TRAINING = ("epoch", "parameters", "multiply_adds", "criterion")
# Of earlier versions. It may be smoothed, or weighted, which the loss of evaluate never is.
RENAMED = {"loss": "criterion"}
Content = dict[str, Any]


def read_params(text: str | None, faults: list[str]) -> Content:
    """Return the content of a params.yaml with today's names; empty, with a fault, if it is damaged."""
    if text is None:
        faults.append("has no params.yaml")
        return {}
    try:
        return with_current_names(read_mapping(text))
    except (ValueError, TypeError, RecursionError) as error:
        faults.append(f"params.yaml: cannot be read ({error})")
        return {}


def flat_params(content: Content) -> dict[str, Any]:
    """Return the parameters that are shown, by dotted key."""
    return {key: value for section in SHOWN_SECTIONS if section in content for key, value in flatten(content[section], section)}


def read_table(texts: Mapping[str, str | None], names: tuple[str, ...], faults: list[str]) -> dict[str, float]:
    """Return the numbers of the first of these tables that is there, by dotted key; none, with a fault, if it is damaged."""
    name = next((name for name in names if texts[name] is not None), None)
    if name is None:
        return {}
    content = read_json(texts[name])
    if not isinstance(content, dict):
        faults.append(f"{name}: is damaged")
        return {}
    return {key: value for key, value in flatten(content) if _is_number(value)}


def read_json(text: str | None) -> Any:
    """Return the content of JSON; None if it is damaged."""
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf


def metrics_of(evaluated: Mapping[str, float], trained: Mapping[str, float]) -> dict[str, float]:
    """Return metrics by name: those of evaluate, and of the published epoch those that evaluate has not measured.

    A trial has only the latter. `published.criterion` is the value of `train.loss`, with label smoothing and weights.
    """
    found = dict(evaluated)
    for key, value in trained.items():
        name = key.rpartition(".")[2]
        name = RENAMED.get(name, name)
        found.setdefault(f"published.{name}" if name in OF_TRAINING else f"val.{name}", value)
    return found


def read_intervals(content: Any) -> dict[str, tuple[float, float]]:
    """Return the lower and upper end of intervals by metric, from the content of intervals.json."""
    return {
        f"{split}.{metric}": (float(interval["low"]), float(interval["high"]))
        for split in ("val", "test")
        for metric, interval in _mapping(_mapping(content).get(split)).items()
        if all(_is_number(_mapping(interval).get(end)) for end in ("low", "high"))
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def outdated(stages: Mapping[str, LockedStage], params: Content) -> Iterator[tuple[str, str]]:
    """Yield the stages that ran with other parameters than these, and the first such key."""
    if not params:
        return
    now = flat_params(params)
    for name in ("download", "split", "train", "evaluate"):
        recorded = flat_params(with_current_names(stages[name].read_params())) if name in stages else {}
        sections = {key.partition(".")[0] for key in recorded}
        ours = {key: value for key, value in now.items() if key.partition(".")[0] in sections}
        changed = [key for key in {**recorded, **ours} if (key in ours, ours.get(key)) != (key in recorded, recorded.get(key))]
        if changed:
            yield name, changed[0]
