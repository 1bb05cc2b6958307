"""What a table says: which of its columns holds path, label, group and split, and what a cell means."""

import json
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from darkroom.base.errors import InputError, warn
from darkroom.base.params import Columns
from darkroom.data.labels import clean_name
from darkroom.data.listing import SPLITS, column_texts, is_missing, printable
from darkroom.sources.folder import LEVELS

# Usual names of columns, for those that params.yaml does not name; capitals, spaces and signs between letters do not matter. Of
# several that may be the path or the label, one has to be named; of groups the first one is taken.
USUAL = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath"),
    "label": ("label", "class", "category", "target"),
    "group": ("group", "patient", "subject", "burst", "site"),
    "split": ("split", "set", "subset", "partition", "fold", "part", "usage", "phase", "datasplit", "datasetsplit"),
}
# Where a table has none of the above.
LESS_USUAL = {
    "path": ("imagefile", "imagefilename", "imagename", "img", "imgpath", "imgname", "photo", "picture"),
    "label": ("labels", "classes", "classname", "classlabel", "labelname", "categoryname", "targetname", "species"),
}
# What `./darkroom labels next` writes beside path and label, and nobody else: by these columns its tables are known.
ASKED = ("number", "proposed", "probability", "why")
# What `./darkroom predict` writes of each image, and nobody else: by these columns its tables are known. What was predicted is no
# label there; the true classes, where they were known, are in a column of their own.
PREDICTED = ("class", "probability")
GUESSES, TRUE = ("class", "classes", "mostprobable"), "actual"
# Its column of the classes that an image may have, which is no part of a data set.
CONFORMAL_SET = "set"
# Columns that say true or false.
FLAGS = ("istest", "isval", "isvalid", "isvalidation", "istrain", "istraining")
Row = Sequence[str]


class Table(NamedTuple):
    """A table of text."""

    columns: list[str]
    rows: list[tuple[int, Row]]
    """Each with its number for error messages: the line of a text file, else the row from 1."""

    def cells(self, place: int) -> set[str]:
        """Return what a column holds, without spaces around it."""
        return {row[place].strip() for _, row in self.rows}


def find_roles(table: Table, columns: Columns, where: str) -> dict[str, int]:
    """Return the indices of the columns for path and label, and for group and split if there are such.

    What was not named in params.yaml but taken for its name is printed; what has such a name but is not used, warned of.

    Raises
    ------
    InputError
        If a column does not exist, several may be the one, or some of its cells name splits and others do not.
    """
    places: dict[str, int] = {}
    for role in ("path", "label", "group", "split"):
        name = getattr(columns, role)
        if name and name not in table.columns:
            names = ", ".join(map(printable, table.columns))
            raise InputError(f"params.yaml: download.columns.{role}: {where} has no column '{name}'; it has {names}")
        if name and _is_guess(table, role, name):
            raise InputError(f"params.yaml: download.columns.{role}: '{name}' of {where} was predicted; {_way_to_train(table)}")
        if name:
            places[role] = table.columns.index(name)
    for role in ("path", "label"):
        if role not in places:
            places[role] = _needed(table, role, where)
    found: dict[str, int] = {}
    if columns.group is None and (place := _group(table, places)) is not None:
        found["group"] = place
    if columns.split is None and (place := _split(table, places | found, where)) is not None:
        found["split"] = place
    if found:
        taken = " and ".join(f"{role}s from its column '{printable(table.columns[place])}'" for role, place in found.items())
        print(f"{where}: takes {taken}; set download.columns.{next(iter(found))} to false to ignore it", flush=True)
    places |= found
    return places


def find_column(columns: Sequence[str], role: str, name: str | None, where: str) -> int | None:
    """Return the index of the column for path or label by its name, or by a usual one; None if it has no label.

    In a table of predictions a name does not make a prediction a label.

    Raises
    ------
    InputError
        If several columns may be the one, or none holds paths.
    """
    table = Table(list(columns), [])
    if name is not None and name in columns and not _is_guess(table, role, name):
        return columns.index(name)
    has_one = role != "label" or _usual(table, role)
    return _needed(table, role, where) if has_one else None


def is_asked(table: Table) -> bool:
    """Return whether `./darkroom labels next` wrote a table: it asks for labels, which may not all be there yet."""
    return set(ASKED) <= set(table.columns)


def is_predicted(table: Table) -> bool:
    """Return whether a table is of predictions, as `./darkroom predict` writes them."""
    return set(PREDICTED) <= {_key(column) for column in table.columns}


def split_of(cell: str) -> str | None:
    """Return the split that a cell names, None if it names none."""
    return LEVELS.get(cell.strip().casefold())


def label_names(cell: str, separator: str | None) -> list[str]:
    """Return the labels in a cell; '' is one that is missing beside others.

    A cell with several is a JSON list if the format of the table has lists.
    """
    if separator is None:
        return [] if is_missing(cell) else [clean_name(cell)]
    parts = cell.split(separator)
    if cell.startswith("["):
        with suppress(ValueError):
            parts = [text or "null" for text in column_texts(json.loads(cell))]
    parts = [part for part in parts if part.strip()]
    return [] if all(map(is_missing, parts)) else ["" if is_missing(part) else clean_name(part) for part in parts]


def _needed(table: Table, role: str, where: str) -> int:
    usual = _usual(table, role)
    if role == "label" and not usual and is_predicted(table):
        raise InputError(f"{where}: holds predictions, and no true classes (column '{TRUE}'); {_way_to_train(table)}")
    if len(usual) != 1:
        names = ", ".join(printable(table.columns[place]) for place in usual)
        what = f"several columns ({names})" if usual else f"no column (of {', '.join(map(printable, table.columns))})"
        if not table.columns:
            raise InputError(f"{where}: is empty; write 'path,label' in the first line, and a row for each image")
        raise InputError(f"{where}: has {what} that may be the {role}; name it in download.columns.{role}")
    return usual[0]


def _usual(table: Table, role: str) -> list[int]:
    """Return the columns that may have a role by their names; of predictions the true classes, and what was added by hand."""
    if role == "label" and is_predicted(table):
        found = _named(table, (TRUE, *USUAL[role], *LESS_USUAL[role]))
        return [place for place in found if not _is_guess(table, role, table.columns[place])]
    return _named(table, USUAL[role]) or _named(table, LESS_USUAL[role])


def _is_guess(table: Table, role: str, name: str) -> bool:
    return role == "label" and _key(name) in GUESSES and is_predicted(table)


def _way_to_train(table: Table) -> str:
    if found := _named(table, [TRUE]):
        return f"name '{table.columns[found[0]]}', which holds the true classes"
    return "to train on what was predicted, rename its column 'class' to 'label'"


def _group(table: Table, places: dict[str, int]) -> int | None:
    """Return the column that holds together the most images, if any does."""
    names = [name + ending for name in USUAL["group"] for ending in ("", "id", "name")]
    for place in _named(table, names):
        groups = [clean_name(row[place]) for _, row in table.rows if not is_missing(row[place])]
        if place not in places.values() and len(set(groups)) < len(groups):
            return place
    return None


def _split(table: Table, places: dict[str, int], where: str) -> int | None:
    """Return the column that says train, val or test; say which others may mean it."""
    fitting, usual = [], _named(table, USUAL["split"])
    if is_predicted(table):
        usual = [place for place in usual if table.columns[place] != CONFORMAL_SET]
    for place in usual:
        cells = table.cells(place)
        known = {cell for cell in cells if split_of(cell)}
        if place in places.values() or all(map(is_missing, cells)):
            continue
        if known == cells:
            fitting.append(place)
        elif known:
            other = printable(min(cells - known))
            name = printable(table.columns[place])
            raise InputError(
                f"{where}: its column '{name}' says {printable(min(known))} of some images and '{other}' of others; use "
                f"{', '.join(SPLITS)}, or set download.columns.split to false to ignore the column"
            )
        else:
            _say_unused(table, place, where)
    if len({tuple(split_of(row[place]) for _, row in table.rows) for place in fitting}) > 1:
        names = ", ".join(printable(table.columns[place]) for place in fitting)
        raise InputError(f"{where}: has several columns ({names}) that may be the split; name it in download.columns.split")
    if not fitting:
        others = set(range(len(table.columns))) - {*places.values(), *usual}
        for place in sorted(others):
            found = {split_of(cell) for cell in table.cells(place)}
            if (None not in found and found != {"train"}) or _key(table.columns[place]) in FLAGS:
                _say_unused(table, place, where)
    return fitting[0] if fitting else None


def _say_unused(table: Table, place: int, where: str) -> None:
    cells = sorted(table.cells(place))
    shown = ", ".join(map(printable, cells[:3])) + (", …" if len(cells) > 3 else "")
    warn(
        f"{where}: its column '{printable(table.columns[place])}' ({shown}) is not used, so any of its images may be trained on; "
        f"name a column of {', '.join(SPLITS)} in download.columns.split, or set that to false"
    )


def _named(table: Table, names: Sequence[str]) -> list[int]:
    """Return the columns with one of some names, in the order of these."""
    keys = [_key(column) for column in table.columns]
    return sorted((place for place, key in enumerate(keys) if key in names), key=lambda place: names.index(keys[place]))


def _key(column: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFC", column).casefold())
