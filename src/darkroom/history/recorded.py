"""What the files of one state of the project say: parameters, metrics, intervals, and what is wrong with them."""

import math
from collections.abc import Mapping
from typing import Any

from darkroom.versions.intervals import interval_in
from darkroom.versions.parameters import Params, flat
from darkroom.versions.recorded import Metrics, is_number, mapping, read_json
from darkroom.versions.yaml_blocks import read_mapping

# Sections that results depend on; `predict` changes predictions alone.
SHOWN_SECTIONS = ("base", "download", "split", "train", "evaluate", "predict")
# Of the published epoch, and no metrics of the validation split.
OF_TRAINING = ("epoch", "parameters", "multiply_adds", "criterion")


def read_params(text: str | None, faults: list[str]) -> Params:
    """Return the shown parameters of a params.yaml; none, with a fault, if it is damaged."""
    if text is None:
        faults.append("has no params.yaml")
        return {}
    try:
        content = read_mapping(text)
        return flat({section: content[section] for section in SHOWN_SECTIONS if section in content})
    except (ValueError, TypeError, RecursionError) as error:
        faults.append(f"params.yaml: cannot be read ({error})")
        return {}


def read_table(texts: Mapping[str, str | None], names: tuple[str, ...], faults: list[str]) -> Mapping[str, Any]:
    """Return the content of the first of these tables that is there; none, with a fault, if it is damaged."""
    name = next((name for name in names if texts[name] is not None), None)
    if name is None:
        return {}
    content = read_json(texts[name])
    if not isinstance(content, dict):
        faults.append(f"{name}: is damaged")
    return mapping(content)


def metrics_of(evaluated: Metrics, published: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics by name: those of evaluate, and of the published epoch those that evaluate has not measured.

    A trial has only the latter. `published.criterion` is the value of `train.loss`, with label smoothing and weights.
    """
    found = {f"{split}.{name}": value for split, values in evaluated.items() for name, value in values.items()}
    for name, value in published.items():
        if is_number(value):
            found.setdefault(f"published.{name}" if name in OF_TRAINING else f"val.{name}", value)
    return found


def read_intervals(content: Any) -> dict[str, tuple[float, float]]:
    """Return the lower and upper end of intervals by metric, from the content of intervals.json."""
    splits = {split: mapping(mapping(content).get(split)) for split in ("val", "test")}
    found = {f"{split}.{name}": interval_in(values, name) for split, values in splits.items() for name in values}
    return {name: (each.low, each.high) for name, each in found.items() if math.isfinite(each.low)}
