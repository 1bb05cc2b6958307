"""Images and labels from a table: CSV, TSV, JSON Lines or Parquet."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from darkroom.base.errors import InputError, one_line
from darkroom.base.params import Columns
from darkroom.data.images import ImageError
from darkroom.data.listing import SPLITS, Item, Label, Listing, Sample, ordered_classes, printable
from darkroom.sources.folder import LEVELS, name_all_classes

# Usual names of columns, for those that params.yaml does not name.
USUAL = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
    "label": ("label", "class", "category", "target"),
}
DELIMITERS = (",", ";", "\t")

Row = Sequence[str]
Read = Callable[[str], bytes]
"""Returns the bytes of the image with a path of the table; raises `ImageError`."""


class Table(NamedTuple):
    """A table of text."""

    columns: list[str]
    rows: list[tuple[int, Row]]
    """Each with its number for error messages: the line of a text file, else the row from 1."""


def list_manifest(table: Table, columns: Columns, read: Read, where: str, info: dict[str, Any]) -> Listing:
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

    Raises
    ------
    InputError
        If a column is missing, or a row has no path or label, an unknown split, or the same path as another row.
    """
    places = _find_columns(table.columns, columns, where)
    extra = [place for place in range(len(table.columns)) if place not in places.values()]
    names = [_label_names(row[places["label"]], columns.separator) for _, row in table.rows]
    for (number, _), each in zip(table.rows, names, strict=True):
        if not each and columns.separator is None:
            raise InputError(f"{where}: row {number} has no label; add one, or remove the row")
    classes = ordered_classes({name for each in names for name in each})
    labels = {name: label for label, name in enumerate(classes)}
    seen: set[str] = set()
    items = []
    for (number, row), each in zip(table.rows, names, strict=True):
        path = _checked_path(row[places["path"]], number, where)
        if path in seen:
            raise InputError(f"{where}: row {number} repeats the path '{printable(path)}' of another row; remove one of them")
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

    name_classes = partial(name_all_classes, list(map(printable, classes)), where)
    return Listing(where, items, name_classes, info, multilabel=columns.separator is not None)


def read_table(name: str, data: bytes, where: str) -> Table:
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
    if not table.rows:
        raise InputError(f"{where}: has no rows; add a row for each image")
    twice = [column for column in table.columns if table.columns.count(column) > 1]
    if twice:
        raise InputError(f"{where}: has two columns called '{printable(twice[0])}'; rename one of them")
    return table


def _find_columns(found: list[str], columns: Columns, where: str) -> dict[str, int]:
    """Return the indices of the columns for path and label, and for group and split if params.yaml names them."""
    places = {}
    for role in ("path", "label", "group", "split"):
        name = getattr(columns, role)
        if name is None and role in USUAL:
            usual = [each for each in found if each.casefold() in USUAL[role]]
            if len(usual) != 1:
                what = f"several columns ({', '.join(usual)})" if usual else f"no column (of {', '.join(map(printable, found))})"
                raise InputError(f"{where}: has {what} that may be the {role}; name it in download.columns.{role}")
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
        raise InputError(f"{where}: row {number} has no path; add one, or remove the row")
    if path.startswith("/") or ".." in path.split("/"):
        raise InputError(f"{where}: row {number}: '{printable(path)}' leaves the folder of the table; write relative paths")
    return path


def _split(name: str, number: int, where: str) -> str:
    split = LEVELS.get(name.strip().casefold())
    if split is None:
        raise InputError(f"{where}: row {number} has the unknown split '{printable(name)}'; use {', '.join(SPLITS)}")
    return split


def _label_names(cell: str, separator: str | None) -> list[str]:
    """Return the labels in a cell, which is a JSON list if the format of the table has lists."""
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
                raise ValueError(f"line {number} is not an object")
            if "\\ud" in line.lower():
                _refuse_halves(entry, number)
            entries.append((number, entry))
    columns = list(dict.fromkeys(key for _, entry in entries for key in entry))
    return Table(columns, [(number, [cell_text(entry.get(column)) for column in columns]) for number, entry in entries])


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
    cells = [list(map(cell_text, column.to_pylist())) for column in table.columns]
    return Table(table.column_names, list(enumerate(zip(*cells, strict=True), 1)))


def cell_text(value: Any) -> str:
    """Return a cell as text; 3.0 becomes 3, since pandas stores whole numbers as floats where values are missing."""
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
    """Return a file of an archive or a remote folder.

    Raises
    ------
    ImageError
        If there is no file of that name.
    """
    if name not in members:
        raise ImageError("does not exist")
    return members[name]()
