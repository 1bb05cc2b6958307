"""How experiments, their settings and tables of them are written as text."""

import json
from collections.abc import Sequence
from typing import Any

from darkroom.experiments.overrides import Settings


def experiment_name(study: str, number: int) -> str:
    """Return the name of a trial's experiment."""
    return f"{study}-{number:04d}"


def settings_text(settings: Settings) -> str:
    """Return settings on one line."""
    return "  ".join(f"{key}={value_text(value)}" for key, value in settings.items())


def value_text(value: Any) -> str:
    """Return a value on one line: numbers in four digits, mappings and lists as JSON."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def duration_text(seconds: float) -> str:
    """Return a duration for people: `40 s`, `2 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> list[str]:
    """Return rows as lines with columns of equal width."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
