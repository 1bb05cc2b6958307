"""The last line of evaluate, with and without intervals."""

import json
from pathlib import Path
from typing import Any

import pytest

from darkroom.evaluation.closing import INTERVALS, NEXT, closing_line

METRICS = {"val": {"accuracy": 0.9}, "test": {"loss": 0.1, "f1_macro": 0.8, "accuracy": 0.95}}


def test_accuracy_and_where_the_rest_is(tmp_path: Path) -> None:
    assert closing_line(METRICS, tmp_path, "metrics/evaluate") == f"evaluate: test accuracy 0.9500 -> metrics/evaluate; {NEXT}"
    only = {"test": {"loss": 0.25}}
    assert closing_line(only, tmp_path, "x").startswith("evaluate: test loss 0.2500 -> x; ")


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ({"value": 0.95, "low": 0.9312, "high": 0.961}, " (0.9312 to 0.9610 with 95 %)"),
        ({"value": 0.95, "low": None, "high": None}, ""),
        ({"value": 0.95}, ""),
        (None, ""),
    ],
)
def test_the_interval_if_there_is_one(tmp_path: Path, found: Any, shown: str) -> None:
    (tmp_path / INTERVALS).write_text(json.dumps({"val": {}, "test": {"accuracy": found}, "per_class": {}}))
    assert closing_line(METRICS, tmp_path, "m").startswith(f"evaluate: test accuracy 0.9500{shown} -> m; ")
