"""What a revision cost, where that is recorded: seconds and epochs of its training, size of its network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.comparison.evaluated import Evaluated
from darkroom.versions.durations import logs_in
from darkroom.versions.parameters import Params, flat
from darkroom.versions.recorded import mapping, read_json

NEWEST = 500
UNKNOWN = "not recorded"
SECTIONS = ("base.", "download.", "split.", "train.")


@dataclass(frozen=True)
class Cost:
    """One kind of cost, as text for each revision."""

    name: str
    first: str
    second: str


def costs(first: Evaluated, second: Evaluated, logs: Path) -> list[Cost]:
    """Return the costs that at least one revision records; `logs` is the folder of the logs of trainings."""
    rows = [
        Cost("training", *(_shown_seconds(training_seconds(each.params, logs)) for each in (first, second))),
        Cost("epochs", *(_epochs(each) for each in (first, second))),
        Cost("parameters", *(_count(each.published.get("parameters")) for each in (first, second))),
        Cost("multiply-adds per image", *(_count(each.published.get("multiply_adds")) for each in (first, second))),
    ]
    return [row for row in rows if {row.first, row.second} != {UNKNOWN}]


def _epochs(each: Evaluated) -> str:
    planned, published = each.params.get("train.epochs"), each.published.get("epoch")
    return f"{planned}, published {published}" if isinstance(planned, int) and isinstance(published, int) else UNKNOWN


def _count(value: Any) -> str:
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else UNKNOWN


def _shown_seconds(seconds: float | None) -> str:
    if seconds is None:
        return UNKNOWN
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


def training_seconds(params: Params, logs: Path) -> float | None:
    """Return how long the last training with these parameters took on this machine; None if no log tells."""
    for log in reversed(logs_in(logs)[-NEWEST:]):
        try:
            content = read_json((log.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if _is_of(flat(mapping(mapping(content).get("params"))), params):
            return log.seconds()
    return None


def _is_of(logged: Params, params: Params) -> bool:
    keys = [key for key in params if key.startswith(SECTIONS) and key in logged]
    return bool(keys) and all(logged[key] == params[key] for key in keys)
