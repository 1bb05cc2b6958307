"""Images and labels from a table: CSV, Parquet or JSON Lines, as it is read and what is refused in it."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from darkroom.data.images import ImageError
from darkroom.data.listing import SPLITS, Item, Label, Listing, Sample, ordered_classes, printable
from darkroom.errors import InputError, one_line
from darkroom.params import Columns
from darkroom.sources.folder import LEVELS

# What columns are called where params.yaml does not say it.
USUAL = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
    "label": ("label", "class", "category", "target"),
}
DELIMITERS = (",", ";", "\t")

Row = Sequence[str]
Read = Callable[[str], bytes]
"""From a path in the table to the image's bytes; raises `ImageError`."""


class Table(NamedTuple):
    """A table of text."""

    columns: list[str]
    rows: list[tuple[int, Row]]
    """With the number by which a person finds each: the line of a text file, else the row, from 1."""


def list_manifest(table: Table, columns: Columns, read: Read, where: str, info: dict[str, Any]) -> Listing:
    """List the images that a table names.

    Parameters
    ----------
    table
        A row for each image.
    columns
        Which of its columns hold what; all others are carried along.
    read
        Reads an image by its path in the table.
    where
        What error messages call the table.
    info
        What dataset.json tells of the source.

    Raises
    ------
    InputError
        If a column is missing, or a row is without path or label, names an unknown split, or an image that another row names.
    """
    places = _find_columns(table.columns, columns, where)
    extra = [place for place in range(len(table.columns)) if place not in places.values()]
    names = [_label_names(row[places["label"]], columns.separator) for _, row in table.rows]
    for (number, _), each in zip(table.rows, names, strict=True):
        if not each and columns.separator is None:
            raise InputError(f"{where}: row {number} has no label; add it, or remove the row")
    classes = ordered_classes({name for each in names for name in each})
    labels = {name: label for label, name in enumerate(classes)}
    seen: set[str] = set()
    items = []
    for (number, row), each in zip(table.rows, names, strict=True):
        path = _checked_path(row[places["path"]], number, where)
        if path in seen:
            raise InputError(f"{where}: row {number} names '{printable(path)}', as another row does; remove one of them")
        seen.add(path)
        items.append(
            Item(
                printable(path),
                _split(row[places["split"]], number, where) if "split" in places else "train",
                partial(_read_sample, read, path, labels[each[0]] if columns.separator is None else _sorted(labels, each)),
                row[places["group"]].strip() or None if "group" in places else None,
                {table.columns[place]: row[place] for place in extra} or None,
            )
        )

    def name_classes(present: Sequence[int]) -> list[str]:
        for label, name in enumerate(classes):
            if label not in present:
                raise InputError(f"{where}: no image of class '{printable(name)}' can be read; mend them or remove the class")
        return [printable(name) for name in classes]

    return Listing(where, items, name_classes, info, multilabel=columns.separator is not None)


def read_table(name: str, data: bytes, where: str) -> Table:
    """Return a table of text from the content of a .csv, .tsv, .jsonl, .ndjson or .parquet file.

    Raises
    ------
    InputError
        If it is none of these, or damaged.
    """
    ending = name.rpartition(".")[2].casefold()
    reader = READERS.get(ending)
    if reader is None:
        raise InputError(f"{where}: ends with none of {', '.join(f'.{each}' for each in READERS)}; save it as one of these")
    try:
        table = reader(data)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (ValueError, csv.Error, RecursionError, OSError, KeyError) as error:
        raise InputError(f"{where}: cannot be read ({one_line(error)[:200]}); correct it") from None
    if not table.rows:
        raise InputError(f"{where}: has no rows; add a row for each image")
    twice = [column for column in table.columns if table.columns.count(column) > 1]
    if twice:
        raise InputError(f"{where}: has two columns called '{printable(twice[0])}'; rename one of them")
    return table


def _find_columns(found: list[str], columns: Columns, where: str) -> dict[str, int]:
    """Return the places of the columns for path, label and, where they are asked for, group and split."""
    places = {}
    for role in ("path", "label", "group", "split"):
        name = getattr(columns, role)
        if name is None and role in USUAL:
            usual = [each for each in found if each.casefold() in USUAL[role]]
            if len(usual) != 1:
                has = f"has several ({', '.join(usual)})" if usual else f"has none (it has {', '.join(map(printable, found))})"
                raise InputError(f"{where}: {has} that may hold the {role}; name it in download.columns.{role}")
            name = usual[0]
        if name is None:
            continue
        if name not in found:
            raise InputError(
                f"params.yaml: download.columns.{role}: {where} has no column '{name}'; it has {', '.join(map(printable, found))}"
            )
        places[role] = found.index(name)
    return places


def _checked_path(path: str, number: int, where: str) -> str:
    path = path.strip().removeprefix("./")
    if not path:
        raise InputError(f"{where}: row {number} has no path; add it, or remove the row")
    if path.startswith("/") or ".." in path.split("/"):
        raise InputError(f"{where}: row {number}: '{printable(path)}' leads elsewhere; write paths from the table's folder on")
    return path


def _split(name: str, number: int, where: str) -> str:
    split = LEVELS.get(name.strip().casefold())
    if split is None:
        raise InputError(f"{where}: row {number} has the split '{printable(name)}'; write {', '.join(SPLITS)}")
    return split


def _label_names(cell: str, separator: str | None) -> list[str]:
    """Return the labels in a cell, which may be a list where the table's format has lists."""
    if separator is None:
        return [cell.strip()] if cell.strip() else []
    try:
        parts = [str(name) for name in json.loads(cell)] if cell.startswith("[") else cell.split(separator)
    except ValueError:
        parts = cell.split(separator)
    return [name for part in parts if (name := part.strip())]


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
                raise ValueError(f"line {number} is no object")
            entries.append((number, entry))
    columns = list(dict.fromkeys(key for _, entry in entries for key in entry))
    return Table(columns, [(number, [_text(entry.get(column)) for column in columns]) for number, entry in entries])


def _read_parquet(data: bytes) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    cells = [list(map(_text, column.to_pylist())) for column in table.columns]
    return Table(table.column_names, list(enumerate(zip(*cells, strict=True), 1)))


def _text(value: Any) -> str:
    """Return a cell as text, which a whole number in floating point (how pandas stores one beside gaps) is as well."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, default=str)


READERS: dict[str, Callable[[bytes], Table]] = {
    "csv": _read_csv,
    "tsv": partial(_read_csv, delimiter="\t"),
    "jsonl": _read_json_lines,
    "ndjson": _read_json_lines,
    "parquet": _read_parquet,
}


def read_member(members: dict[str, Callable[[], bytes]], name: str) -> bytes:
    """Return a file of an archive, or of a folder elsewhere.

    Raises
    ------
    ImageError
        If it has none of that name.
    """
    if name not in members:
        raise ImageError("does not exist")
    return members[name]()
