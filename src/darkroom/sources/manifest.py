"""Images and labels from a table: CSV, TSV, JSON Lines or Parquet."""

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from darkroom.base.errors import InputError, one_line, warn
from darkroom.base.params import Columns
from darkroom.data.labels import clean_name
from darkroom.data.listing import (
    SPLITS,
    Item,
    Label,
    Listing,
    Sample,
    arrow_values,
    column_texts,
    is_missing,
    junk_of,
    ordered_classes,
    printable,
)
from darkroom.sources.columns import ASKED, Row, Table, find_roles, is_asked, label_names, split_of
from darkroom.sources.folder import name_all_classes

DELIMITERS = (",", ";", "\t")

Read = Callable[[str], bytes]
"""Returns the bytes of the image with a path of the table; raises `ImageError`."""


def list_manifest(
    table: Table, columns: Columns, read: Read, where: str, info: dict[str, Any], identity: Callable[[str], Hashable] = str
) -> Listing:
    """List the images that a table names.

    Parameters
    ----------
    table
        One row per image.
    columns
        The roles of its columns; all other columns are kept with the image.
    read
        Reads the image with a path of the table.
    where
        Name of the table in error messages.
    info
        What dataset.json records of the source.
    identity
        Returns what is equal for two spellings of the path of one file.

    Raises
    ------
    InputError
        If a column is missing, or a row has no path or label, an unknown split, or the same file as another row.
    """
    places = find_roles(table, columns, where)
    own = ASKED if is_asked(table) else ()
    extra = [place for place, name in enumerate(table.columns) if place not in places.values() and name not in own]
    rows, junk = _without_junk(table, places["path"], where)
    if own:
        rows, waiting = _without_waiting(rows, places, where)
        junk = sorted({*junk, *waiting})
    names = [_checked_labels(row[places["label"]], columns.separator, number, where) for number, row in rows]
    classes = ordered_classes({name for each in names for name in each})
    labels = {name: label for label, name in enumerate(classes)}
    seen: dict[str, list[str]] = {}
    items = []
    for (number, row), each in zip(rows, names, strict=True):
        path = _checked_path(row[places["path"]], number, where)
        # Only paths that look the same can be two spellings of one file.
        alike = seen.setdefault(unicodedata.normalize("NFC", path).casefold(), [])
        if path in alike or (alike and identity(path) in map(identity, alike)):
            raise InputError(f"{where}: row {number} repeats the path '{printable(path)}' of another row; remove one of them")
        alike.append(path)
        group = clean_name(row[places["group"]]) if "group" in places and not is_missing(row[places["group"]]) else None
        items.append(
            Item(
                printable(path),
                _checked_split(row[places["split"]], number, where) if "split" in places else "train",
                partial(_read_sample, read, path, labels[each[0]] if columns.separator is None else _sorted(labels, each)),
                group or None,
                {table.columns[place]: row[place] for place in extra} or None,
            )
        )

    name_classes = partial(name_all_classes, list(map(printable, classes)), where)
    return Listing(where, items, name_classes, info, junk, multilabel=columns.separator is not None)


def read_table(name: str, data: bytes, where: str, *, may_be_empty: bool = False) -> Table:
    """Return the table in the content of a .csv, .tsv, .jsonl, .ndjson or .parquet file, as text.

    Raises
    ------
    InputError
        If the file is of another kind, or damaged.
    """
    ending = name.rpartition(".")[2].casefold()
    reader = READERS.get(ending)
    if reader is None:
        raise InputError(f"{where}: has an unknown file type; save it as {', '.join(f'.{each}' for each in READERS)}")
    try:
        table = reader(data)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (ValueError, csv.Error, RecursionError, OSError, KeyError) as error:
        raise InputError(f"{where}: cannot be read ({one_line(error)[:200]}); correct it") from None
    if not table.rows and not may_be_empty:
        raise InputError(f"{where}: has no rows; add a row for each image")
    twice = [column for column in table.columns if table.columns.count(column) > 1]
    if twice:
        raise InputError(f"{where}: has two columns called '{printable(twice[0])}'; rename one of them")
    return table


def _without_junk(table: Table, place: int, where: str) -> tuple[list[tuple[int, Row]], list[str]]:
    """Return the rows that name images, and what else they name, such as thumbnails of a storage device."""
    junk = [junk_of(row[place].strip()) for _, row in table.rows]
    found = sorted({printable(name) for name in junk if name})
    if found:
        count = sum(name is not None for name in junk)
        warn(f"{where}: {count} row(s) name files that are no part of a set, such as {found[0]}, and are ignored; remove them")
    return [row for row, name in zip(table.rows, junk, strict=True) if not name], found


def _without_waiting(rows: list[tuple[int, Row]], places: dict[str, int], where: str) -> tuple[list[tuple[int, Row]], list[str]]:
    """Return the rows of a table of `./darkroom labels next` that have a label, and the paths of the others.

    Raises
    ------
    InputError
        If none has one.
    """
    labelled = [entry for entry in rows if not is_missing(entry[1][places["label"]])]
    if not labelled:
        raise InputError(f"{where}: no row has a label yet; fill in its column 'label'")
    waiting = [printable(row[places["path"]].strip()) for _, row in rows if is_missing(row[places["label"]])]
    if waiting:
        print(f"{where}: {len(waiting)} of {len(rows)} row(s) have no label yet and are left out", flush=True)
    return labelled, waiting


def _checked_labels(cell: str, separator: str | None, number: int, where: str) -> list[str]:
    names = label_names(cell, separator)
    if "" in names or (not names and separator is None):
        said = f" ('{printable(cell.strip())}' means that it is missing)" if cell.strip() else ""
        raise InputError(f"{where}: row {number} has no label{said}; add one, or remove the row")
    return names


def _checked_path(path: str, number: int, where: str) -> str:
    path = path.strip()
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise InputError(f"{where}: row {number} has no path; add one, or remove the row")
    if path.startswith("/") or ".." in parts:
        raise InputError(f"{where}: row {number}: '{printable(path)}' leaves the folder of the table; write relative paths")
    if "\0" in path:
        raise InputError(f"{where}: row {number}: '{printable(path)}' is no path; correct it")
    return "/".join(parts)


def _checked_split(cell: str, number: int, where: str) -> str:
    split = split_of(cell)
    if split is None:
        said = "no split" if is_missing(cell) else f"the unknown split '{printable(cell)}'"
        raise InputError(f"{where}: row {number} has {said}; use {', '.join(SPLITS)}")
    return split


def _sorted(labels: dict[str, int], names: list[str]) -> tuple[int, ...]:
    return tuple(sorted({labels[name] for name in names}))


def _read_sample(read: Read, path: str, label: Label) -> Sample:
    return read(path), label


def _read_csv(data: bytes, delimiter: str | None = None) -> Table:
    text = data.decode("utf-8-sig")
    if delimiter is None:
        header = text.partition("\n")[0]
        delimiter = max(DELIMITERS, key=header.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    rows: list[tuple[int, Row]] = []
    for row in lines:
        if not row:
            continue
        if not columns:
            columns = [name.strip() for name in row]
        elif len(row) != len(columns):
            raise ValueError(f"line {lines.line_num} has {len(row)} cells, the first line {len(columns)}")
        else:
            rows.append((lines.line_num, row))
    return Table(columns, rows)


def _read_json_lines(data: bytes) -> Table:
    entries: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if line.strip():
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError(f"line {number} is not an object")
            if "\\ud" in line.lower():
                _refuse_halves(entry, number)
            entries.append((number, entry))
    columns = list(dict.fromkeys(key for _, entry in entries for key in entry))
    cells = [column_texts(entry.get(column) for _, entry in entries) for column in columns]
    return Table(columns, [(number, row) for (number, _), row in zip(entries, zip(*cells, strict=True), strict=True)])


def _refuse_halves(entry: dict[str, Any], number: int) -> None:
    """Refuse half a character, as some programs write one of two that belong together: no file holds it as text."""
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"line {number} holds {error.object[error.start]!a}, half a character") from None


def _read_parquet(data: bytes) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    cells = [column_texts(arrow_values(column)) for column in table.columns]
    return Table(table.column_names, list(enumerate(zip(*cells, strict=True), 1)))


READERS: dict[str, Callable[[bytes], Table]] = {
    "csv": _read_csv,
    "tsv": partial(_read_csv, delimiter="\t"),
    "jsonl": _read_json_lines,
    "ndjson": _read_json_lines,
    "parquet": _read_parquet,
}
