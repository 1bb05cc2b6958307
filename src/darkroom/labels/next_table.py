"""The table of `./darkroom labels next`: a row for each photo that was asked for, whose label a person fills in.

The source `manifest` takes it back. Each round adds rows; those of earlier rounds stay as they are.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.data.labels import clean_name
from darkroom.data.listing import is_missing, printable
from darkroom.sources.columns import ASKED, Table, is_asked
from darkroom.sources.entries import FilesBelow, member_name
from darkroom.sources.manifest import read_table

if TYPE_CHECKING:
    from darkroom.labels.next import Asked

PATH, LABEL = "path", "label"
COLUMNS = ("number", PATH, LABEL, *ASKED[1:])


@dataclass(frozen=True)
class AskedTable:
    """What the table holds before this round.

    Attributes
    ----------
    out
        Its file.
    columns
        Its columns, with those that were added by hand.
    rows
        Cells by column.
    """

    out: Path
    columns: Sequence[str] = COLUMNS
    rows: Sequence[Mapping[str, str]] = ()

    @property
    def photos(self) -> dict[Path, str]:
        """The label of each photo, '' where none is filled in yet."""
        below, found = FilesBelow(self.out.parent), {}
        for row in self.rows:
            path = self.out.parent / member_name(below, row[PATH].strip())
            found[Path(os.path.normpath(path))] = "" if is_missing(row[LABEL]) else clean_name(row[LABEL])
        return found

    @property
    def last(self) -> int:
        """The largest number of a row."""
        return max((int(row["number"]) for row in self.rows if row["number"].strip().isdecimal()), default=0)


def plain_path(path: Path) -> Path:
    """Return a path as an absolute one without `..`; a link stays a link, as in the paths of photos behind it."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100


def open_table(out: Path, folder: Path) -> AskedTable:
    """Read the table of earlier rounds, empty if there is none.

    Parameters
    ----------
    out
        A .csv file.
    folder
        The photos.

    Raises
    ------
    InputError
        If `manifest` would not take it back: it lies elsewhere, or is another table.
    """
    out, folder = plain_path(out), plain_path(folder)
    if out.suffix.lower() != ".csv":
        raise InputError(f"--out: {paths.shown(out)} does not end with .csv; name such a file")
    if not folder.is_relative_to(out.parent):
        raise InputError(
            f"--out: {paths.shown(out)} is neither in {paths.shown(folder)} nor above it, but its paths are relative to its "
            f"folder; name a file there"
        )
    if not out.exists():
        return AskedTable(out)
    where = paths.shown(out)
    table = read_table(out.name, files.read_regular(out), where, may_be_empty=True)
    if not is_asked(table) or not {PATH, LABEL} <= set(table.columns):
        raise InputError(f"--out: {where} exists and is no table of labels next; name another file")
    return AskedTable(out, table.columns, _rows(table))


def write_table(table: AskedTable, photos: Sequence["Asked"]) -> None:
    """Write the rows of earlier rounds as they are, then one for each photo.

    A byte order mark stands first, without which Excel takes accents for two characters each.
    """
    new = [
        {
            "number": str(number),
            PATH: path_cell(table, each.path),
            LABEL: "",
            "proposed": files.csv_text(each.proposed),
            "probability": "" if each.probability is None else f"{each.probability:.4f}",
            "why": each.why,
        }
        for number, each in enumerate(photos, table.last + 1)
    ]
    with files.replaced_file(table.out) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, table.columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows([*table.rows, *new])


def path_cell(table: AskedTable, path: Path) -> str:
    """Return the path of a photo as `manifest` reads it; `./` is put before what a spreadsheet would take for a formula.

    Raises
    ------
    ValueError
        If no table of text holds it.
    """
    text = path.relative_to(table.out.parent).as_posix()
    text.encode()  # half of a character, of a name that is not UTF-8, raises UnicodeEncodeError
    is_plain = files.csv_text(text) == text and text.strip() == text
    return text if is_plain else f"./{text}"


def check_folder(folder: Path, outputs: Sequence[Path]) -> None:
    """Refuse a folder that does not exist, or has to do with what stages write.

    Raises
    ------
    InputError
        Naming it.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"{printable(str(folder))}: {what}; name a folder of photos")
    place, written = folder.resolve(), [output.resolve() for output in outputs]
    if any(place.is_relative_to(output) for output in written):
        raise InputError(f"{folder}: is what stages write, not photos of yours; name another folder")
    if inside := [output for output in written if output.is_relative_to(place)]:
        raise InputError(f"{folder}: holds {paths.shown(inside[0])}, which stages write; name a folder of photos alone")


def check_sheet(out: Path, folder: Path) -> None:
    """Refuse a file that is no sheet, or would be taken for a photo in the next round."""
    if out.suffix.lower() != ".png":
        raise InputError(f"--sheet: {out} does not end with .png; name such a file")
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"--sheet: {out} is in {folder}, where it would be taken for a photo; name a file elsewhere")


def _rows(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.columns, row, strict=True)) for _, row in table.rows]
