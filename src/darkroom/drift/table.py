"""The photos with their distances, as a .csv or .parquet file."""

from pathlib import Path
from typing import Any

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.data.listing import printable
from darkroom.drift.check import Drift, in_order
from darkroom.reporting.csv_table import plain_text, write_csv

ENDINGS = (".csv", ".parquet")


def check_ending(out: Path) -> None:
    """Refuse a file that is no table."""
    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"--out: {out} does not end with {' or '.join(ENDINGS)}; name such a file")


def write_table(out: Path, drift: Drift) -> None:
    """Write a row for each photo, the most foreign first."""
    columns = _columns(drift)
    if out.suffix.lower() == ".csv":
        texts = ("path", "same_as", "predicted")
        cells = [[plain_text(each) for each in values] if name in texts else values for name, values in columns.items()]
        write_csv(out, list(columns), zip(*cells, strict=True))
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    with files.replaced_file(out) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _columns(drift: Drift) -> dict[str, list[Any]]:
    """Return the cells of each column; numbers are rounded, so that they are the same on every machine."""
    order = in_order(drift)

    def column(values: Any, digits: int | None = None) -> list[Any]:
        chosen = [values[place] for place in order]
        return chosen if digits is None else [float(f"{value:.{digits}g}") for value in chosen]

    found: dict[str, list[Any]] = {
        "path": column([printable(paths.shown(path)) for path in drift.paths]),
        "distance": column(drift.distances, 6),
        "p": column(drift.foreign.p_values, 6),
        "foreign": ["yes" if drift.foreign.is_foreign[place] else "no" for place in order],
        "same_as": column(drift.same_as),
    }
    if drift.confidence is not None:
        found["confidence"] = column(drift.confidence, 6)
    if drift.predicted is not None:
        found["predicted"] = column(drift.predicted)
    return found
