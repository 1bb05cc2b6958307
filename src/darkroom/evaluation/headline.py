"""The numbers on top of the page of `dvc plots`: a table, since DVC draws no JSON that has no list."""

from collections.abc import Mapping
from pathlib import Path

from darkroom.reporting.csv_table import plain_text, write_csv

Interval = Mapping[str, float | None]


def write_headline(
    path: Path,
    metrics: Mapping[str, Mapping[str, float]],
    intervals: Mapping[str, Mapping[str, Interval]],
    num_images: Mapping[str, int],
) -> None:
    """Write split, metric, value, low, high, images: the test split first, then validation.

    Parameters
    ----------
    path
        The table.
    metrics
        Of each split, as in metrics/evaluate.json.
    intervals
        Of each split and metric: `low` and `high` of the 95 % interval, as in intervals.json; without one the cells are empty.
    num_images
        Of each split.
    """
    rows = []
    for split in ("test", "val"):
        for metric, value in metrics.get(split, {}).items():
            interval = intervals.get(split, {}).get(metric, {})
            low, high = ("" if interval.get(end) is None else interval[end] for end in ("low", "high"))
            rows.append((split, plain_text(metric), value, low, high, num_images[split]))
    write_csv(path, ("split", "metric", "value", "low", "high", "images"), rows)
