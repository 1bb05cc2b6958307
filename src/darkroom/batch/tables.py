"""Paths and labels of a table, row by row: CSV, TSV, JSON Lines or Parquet of any length."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.base.errors import InputError, one_line
from darkroom.base.params import Columns
from darkroom.data.listing import column_texts, is_missing, junk_of
from darkroom.sources.columns import find_column, label_names
from darkroom.sources.manifest import DELIMITERS

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
SEPARATOR = "; "
ROWS_AT_ONCE = 4096


class LabelledPath(NamedTuple):
    """A row: the path as it stands there, and the class, several of them with `; ` between; None where the table has none."""

    path: str
    label: str | None


def iterate_table(table: Path, columns: Columns) -> Iterator[LabelledPath]:
    """Yield the rows of a table, but for those that name no part of a set, such as thumbnails.

    Parameters
    ----------
    table
        A file of one of the `ENDINGS`.
    columns
        `download.columns` of params.yaml; columns that it does not name are found by usual names. Labels are optional.

    Raises
    ------
    InputError
        If it is damaged, has no column of paths, or a row without a path.
    """
    number = 0
    try:
        rows = READERS[table.suffix.lower()](table, columns)
        for number, (path, label) in enumerate(rows, 1):
            if is_missing(path):
                raise InputError(f"{table}: row {number} has no path; add one, or remove the row")
            if not junk_of(path.strip()):
                yield LabelledPath(path.strip(), None if label is None else _label(label, columns.separator))
    except UnicodeDecodeError as error:
        raise InputError(f"{table}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except InputError:
        raise
    except (ValueError, csv.Error, RecursionError, OSError) as error:
        raise InputError(f"{table}: cannot be read after row {number} ({one_line(error)[:200]}); correct it") from None
    if not number:
        raise InputError(f"{table}: has no rows; add a row for each image")


def _label(cell: str, separator: str | None) -> str | None:
    if separator is None:
        return None if is_missing(cell) else label_names(cell, None)[0]
    return SEPARATOR.join(sorted(label_names(cell, separator)))


def _places(names: Sequence[str], columns: Columns, where: str) -> tuple[int, int | None]:
    path = find_column(names, "path", columns.path, where)
    assert path is not None
    return path, find_column(names, "label", columns.label, where)


def _read_csv(table: Path, columns: Columns, delimiter: str | None = None) -> Iterator[tuple[str, str | None]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        if delimiter is None:
            header = file.readline()
            delimiter = max(DELIMITERS, key=header.count)
            file.seek(0)
        rows = (row for row in csv.reader(file, delimiter=delimiter, strict=True) if row)
        names = [name.strip() for name in next(rows, [])]
        path, label = _places(names, columns, str(table))
        for row in rows:
            if len(row) != len(names):
                raise ValueError(f"a row has {len(row)} cells, the first line {len(names)}")
            yield row[path], None if label is None else row[label]


def _read_json_lines(table: Path, columns: Columns) -> Iterator[tuple[str, str | None]]:
    names: list[str] = []
    with table.open(encoding="utf-8-sig") as file:
        for line in filter(str.strip, file):
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("a line is not an object")
            if not names:
                names = list(entry)
                path, label = _places(names, columns, str(table))
            cells = column_texts([entry.get(names[place]) for place in (path, label) if place is not None])
            yield cells[0], cells[1] if label is not None else None


def _read_parquet(table: Path, columns: Columns) -> Iterator[tuple[str, str | None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(table) as file:
            names = file.schema_arrow.names
            places = [place for place in _places(names, columns, str(table)) if place is not None]
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=[names[place] for place in places]):
                cells: list[Iterable[Any]] = [column_texts(batch[names[place]].to_pylist()) for place in places]
                yield from zip(*cells, strict=True) if len(cells) == 2 else ((path, None) for path in cells[0])
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


Reader = Callable[[Path, Columns], Iterator[tuple[str, str | None]]]
READERS: dict[str, Reader] = {
    ".csv": _read_csv,
    ".tsv": partial(_read_csv, delimiter="\t"),
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}
