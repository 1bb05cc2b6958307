"""The table `download.corrections`: which image gets which label, as `./darkroom labels check` writes it and people edit it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.base import files, paths
from darkroom.base.errors import InputError, nearest
from darkroom.data.labels import clean_name
from darkroom.data.listing import printable
from darkroom.sources.columns import Table
from darkroom.sources.manifest import read_table

KEY = "params.yaml: download.corrections"
# Tracked by Git, with a header and no row: DVC needs a dependency that exists (docs/decisions/0040).
NONE = "data/corrections.csv"
REMOVE = "remove"
"""Written in place of a label: the image is left out."""
ID, GIVEN, LABEL = "id", "given", "label"
# A table by hand may call the ids so.
ID_NAMES = (ID, "path")


@dataclass(frozen=True)
class Correction:
    """A row that changes a label.

    Attributes
    ----------
    number
        Of the row, for error messages.
    id
        Of the image, as the cell has it; see `files.csv_text`.
    given
        The label that the source is said to give; None if the table has no such column.
    label
        The label that the image gets; `remove` leaves it out.
    """

    number: int
    id: str
    given: str | None
    label: str


@dataclass(frozen=True)
class Corrections:
    """The rows of a table that change a label; `where` is its name in error messages."""

    where: str = NONE
    rows: Sequence[Correction] = ()


NO_CORRECTIONS = Corrections()


def read_corrections(name: str) -> Corrections:
    """Read the table of corrections; rows that leave a label as it is given are left out.

    Parameters
    ----------
    name
        A path, relative to the repository.

    Raises
    ------
    InputError
        If it does not exist or cannot be read, has no column for the id or the label, or two rows for an image.
    """
    if "://" in name:
        raise InputError(f"{KEY}: {name} is an address; copy the table here, where DVC watches it")
    path = paths.ROOT / Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"{KEY}: {name} {'is no file' if path.exists() else 'does not exist'}; correct it, or set it to {NONE}")
    return Corrections(name, tuple(_rows(read_table(name, path.read_bytes(), name, may_be_empty=True), name)))


def _rows(table: Table, where: str) -> Iterator[Correction]:
    id_place = _place(table, ID_NAMES, where)
    label_place = _place(table, (LABEL,), where)
    given_place = _place(table, (GIVEN,), where, needed=False)
    assert id_place is not None
    assert label_place is not None
    seen: dict[str, int] = {}
    for number, row in table.rows:
        name, label = row[id_place].strip(), clean_name(row[label_place])
        given = clean_name(row[given_place]) if given_place is not None else None
        if not name and not label:  # a line of separators alone, as spreadsheets leave them
            continue
        if not name:
            raise InputError(f"{where}: row {number} has no {ID}; add it, or remove the row")
        if name in seen:
            raise InputError(f"{where}: rows {seen[name]} and {number} are of one image, '{printable(name)}'; remove one of them")
        seen[name] = number
        if label != given:
            yield Correction(number, name, given, label)


def _place(table: Table, names: Sequence[str], where: str, *, needed: bool = True) -> int | None:
    columns = [column.strip().casefold() for column in table.columns]
    found = [columns.index(name) for name in names if name in columns]
    if not found and needed:
        known = ", ".join(map(printable, table.columns)) or "none"
        raise InputError(
            f"{where}: has no column '{names[0]}' ({nearest(names[0], columns, f'its columns are {known}')}); add it"
        )
    return found[0] if found else None


def cell_of(name: str) -> str:
    """Return an id or a class as a cell of the table, which no spreadsheet takes for a formula."""
    return files.csv_text(name)
