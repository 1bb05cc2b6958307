"""The last line of the stage evaluate: a metric with its interval, where the rest is, what to type next."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INTERVALS = "intervals.json"
# The first of these that was measured.
ASKED_FOR = ("accuracy", "f1_macro", "loss")
NEXT = "'./darkroom report' draws it, './darkroom compare HEAD' compares it with the last commit"


def closing_line(metrics: Mapping[str, Mapping[str, float]], folder: Path, shown: str) -> str:
    """Return the line.

    Parameters
    ----------
    metrics
        Values by name, of each split.
    folder
        What evaluate has written; the intervals are read from there.
    shown
        The folder's name.
    """
    test = metrics["test"]
    name = next((name for name in ASKED_FOR if name in test), next(iter(test)))
    interval = _interval(folder / INTERVALS, name)
    between = f" ({interval[0]:.4f} to {interval[1]:.4f} with 95 %)" if interval else ""
    return f"evaluate: test {name} {test[name]:.4f}{between} -> {shown}; {NEXT}"


def _interval(path: Path, name: str) -> tuple[float, float] | None:
    if not path.is_file():
        return None
    found: Any = json.loads(path.read_text(encoding="utf-8")).get("test", {}).get(name)
    low, high = (found.get(bound) if isinstance(found, dict) else None for bound in ("low", "high"))
    if not (isinstance(low, int | float) and isinstance(high, int | float) and math.isfinite(low) and math.isfinite(high)):
        return None  # there is none, such as of a class without images
    return float(low), float(high)
