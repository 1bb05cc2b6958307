"""Cells of tables as text, of whatever format and kind, and which of them say that a value is missing."""

import json
import math
from collections.abc import Iterable
from typing import Any

# What pandas reads as a missing value.
MISSING = frozenset(
    [
        *("", "NaN", "nan", "NAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN", "NA", "<NA>", "N/A", "n/a"),
        *("#NA", "#N/A", "#N/A N/A", "NULL", "null", "None", "NaT"),
    ]
)
# Floats hold all integers up to here.
EXACT = 1 << 53


def is_missing(cell: str) -> bool:
    """Return whether a cell has no value, however its format says so."""
    return cell.strip() in MISSING


def column_texts(values: Iterable[Any]) -> list[str]:
    """Return cells as text, missing ones as ''.

    If all floats among them are whole, 3.0 becomes 3: pandas stores whole numbers as floats where values are missing.
    """
    values = list(values)
    floats = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    whole = all(value.is_integer() and abs(value) <= EXACT for value in floats)
    return [_text(value, whole=whole) for value in values]


def _text(value: Any, *, whole: bool) -> str:
    if value is None or value != value:  # NaN, of floats, times and decimals
        return ""
    if isinstance(value, float) and whole and math.isfinite(value):
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool | list | dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
