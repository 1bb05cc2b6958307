"""Values with their intervals of 95 %, as evaluate recorded them, or Wilson's of a share."""

import math
from typing import Any, NamedTuple

from darkroom.versions.recorded import is_number, mapping


class Interval(NamedTuple):
    """A value with its interval of 95 %; the ends are NaN where unknown."""

    value: float
    low: float = math.nan
    high: float = math.nan


def interval_in(values: Any, name: str) -> Interval:
    """Return an interval out of a mapping of intervals.json; NaN where there is none."""
    found = mapping(mapping(values).get(name))
    value, low, high = (float(found[key]) if is_number(found.get(key)) else math.nan for key in Interval._fields)
    return Interval(value, low, high) if math.isfinite(low) and math.isfinite(high) else Interval(value)


def wilson(share: float, count: int) -> Interval:
    """Return a share of `count` images with its interval of 95 %.

    References
    ----------
    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    if not (math.isfinite(share) and count):
        return Interval(share)
    z = 1.959964  # the quantile of 97.5 % of the normal distribution
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def number(text: str | None) -> float:
    """Return the number in a cell of a table, NaN if it has none."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
