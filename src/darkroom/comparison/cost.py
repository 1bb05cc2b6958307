"""What a revision cost, where that is recorded: seconds and epochs of its training, size of its network."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from darkroom.base.nested import flatten
from darkroom.comparison.evaluated import Evaluated

# A training that was interrupted goes on in the same log; the time between is not counted.
LONGEST_GAP_SECONDS = 120
NEWEST = 500
SECTIONS = ("base.", "download.", "split.", "train.")


@dataclass(frozen=True)
class Cost:
    """One kind of cost, as text for each revision; empty where it is not recorded."""

    name: str
    first: str
    second: str


def costs(first: Evaluated, second: Evaluated, logs: Path) -> list[Cost]:
    """Return the costs that at least one revision records; `logs` is the folder of the logs of trainings."""
    rows = [
        Cost("training", *(_shown_seconds(training_seconds(each.params, logs)) for each in (first, second))),
        Cost("epochs", *(_epochs(each) for each in (first, second))),
        Cost("parameters", *(_count(each.trained.get("parameters")) for each in (first, second))),
        Cost("multiply-adds per image", *(_count(each.trained.get("multiply_adds")) for each in (first, second))),
    ]
    return [row for row in rows if row.first or row.second]


def _epochs(each: Evaluated) -> str:
    planned, published = each.params.get("train.epochs"), each.trained.get("epoch")
    return f"{planned}, published {published}" if isinstance(planned, int) and isinstance(published, int) else ""


def _count(value: Any) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else ""


def _shown_seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def training_seconds(params: Mapping[str, Any], logs: Path) -> float | None:
    """Return how long the last training with these parameters took on this machine; None if no log tells.

    Git and DVC keep no times, since equal inputs give equal files; `logs/` has those of this machine.
    """
    for folder in islice(sorted((path for path in logs.glob("*-*-*_*") if path.is_dir()), reverse=True), NEWEST):
        try:
            content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            if _is_of(dict(flatten(content["params"])), params):
                return _seconds(folder, content["started"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue  # of another version, or still being written
    return None


def _is_of(logged: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
    keys = [key for key in params if key.startswith(SECTIONS) and key in logged]
    return bool(keys) and all(logged[key] == params[key] for key in keys)


def _seconds(folder: Path, started: str) -> float | None:
    with (folder / "machine.csv").open(encoding="utf-8", newline="") as file:
        times = [datetime.fromisoformat(row["time"]) for row in csv.DictReader(file)]
    # The table has the local time.
    times.insert(0, datetime.fromisoformat(started).astimezone().replace(tzinfo=None))
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    return sum(gap for gap in gaps if gap < LONGEST_GAP_SECONDS) if gaps else None
