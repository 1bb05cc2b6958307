"""What every source returns: a list of images, read when they are needed, and their class names; cells of tables as text."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.data.images import Decoded, ImageArray

SPLITS = ("train", "val", "test")
# What pandas reads as a missing value.
MISSING = frozenset(
    [
        *("", "NaN", "nan", "NAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN", "NA", "<NA>", "N/A", "n/a"),
        *("#NA", "#N/A", "#N/A N/A", "NULL", "null", "None", "NaT"),
    ]
)
# Floats hold all integers up to here.
EXACT = 1 << 53
Label = int | tuple[int, ...]
"""The class index of an image; in a multilabel set its class indices, ascending."""
Sample = tuple[bytes | Decoded, Label]
Data = bytes | Path | ImageArray | Callable[[], bytes | ImageArray]


class Item(NamedTuple):
    """One image of a source; `read` returns it with its label, as an encoded file or decoded.

    `read` raises `ImageError` if the image cannot be used. It may be called more than once and from any thread.
    """

    id: str
    split: str
    read: Callable[[], Sample]
    group: str | None = None
    """Images of one group stay in one split: those of a patient, a site, a burst."""
    extra: dict[str, str] | None = None
    """Other columns of the source, which are kept with the image."""


class Example(NamedTuple):
    """One image of a source in src/plugins/sources; see the README.md there."""

    id: str
    """A name that no other image of the source has."""
    data: Data
    """A path, the bytes of a file, (H, W) or (H, W, 3) uint8, or a function that returns bytes or pixels.

    With `download.channels`, pixels are (H, W) or (H, W, C) uint8, uint16 or float32."""
    label: str | Sequence[str]
    """Name of its class; in a multilabel set a list of names, which may be empty."""
    split: str = "train"
    """train, val or test."""
    group: str | None = None
    """Images of one group stay in one split."""
    extra: dict[str, str] | None = None
    """Other columns, which are kept up to the predictions."""


@dataclass(frozen=True)
class Listing:
    """The images of a source.

    Attributes
    ----------
    where
        Name of the source in error messages: a folder, an archive, a data set.
    items
        The images, in any order.
    name_classes
        Returns the class names of the given labels, ascending; raises `InputError` if a class has no readable image.
    info
        What `dataset.json` records of the source; without secrets and paths of this machine.
    ignored
        Ids of files that are not part of the set.
    multilabel
        Whether an image may have any number of classes.
    remote
        Whether reading waits for a network, so that many images are read at a time.
    """

    where: str
    items: Sequence[Item]
    name_classes: Callable[[Sequence[int]], list[str]]
    info: dict[str, Any]
    ignored: list[str] = field(default_factory=list)
    multilabel: bool = False
    remote: bool = False


# What operating systems, storage devices and viewers leave beside images: indices, thumbnails, waste.
JUNK = frozenset(
    [
        *("__macosx", ".ds_store", ".appledouble", ".spotlight-v100", ".trashes", ".fseventsd", ".thumbnails", ".picasa.ini"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir", "#recycle"),
    ]
)


def junk_of(name: str) -> str | None:
    """Return what a path with `/` is, or is in, if that is no part of any set: a file or the topmost such folder; else None."""
    parts = name.split("/")
    depths = (depth for depth, part in enumerate(parts, 1) if part.casefold() in JUNK or part.startswith("._"))
    junk = next(depths, None)
    return None if junk is None else "/".join(parts[:junk])


def ordered_classes(names: set[str]) -> list[str]:
    """Return class names sorted by code point; if all are whole numbers, by value, so that 10 follows 9."""
    if all(name.isascii() and name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def printable(name: str) -> str:
    r"""Return a file name as printable text from which it can be restored.

    A backslash becomes `\\`; bytes that cannot be printed or are not UTF-8 (surrogate escapes) become `\xNN`. Different names
    stay different, since consecutive surrogate escapes never form valid UTF-8.
    """
    return "".join(_printable_character(character) for character in name)


def _printable_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    # A byte of a file name that is no UTF-8, or half a character, which only text can hold.
    is_byte = "\udc80" <= character <= "\udcff"
    encoded = character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in encoded)


def is_missing(cell: str) -> bool:
    """Return whether a cell has no value, however its format says so."""
    return cell.strip() in MISSING


def column_texts(values: Iterable[Any]) -> list[str]:
    """Return cells as text, missing ones as ''.

    If all floats among them are whole, 3.0 becomes 3: pandas stores whole numbers as floats where values are missing.
    """
    values = list(values)
    floats = [value for value in values if isinstance(value, float) and math.isfinite(value)]
    whole = all(value.is_integer() and abs(value) <= EXACT for value in floats)
    return [_text(value, whole=whole) for value in values]


def _text(value: Any, *, whole: bool) -> str:
    if value is None or value != value:  # NaN, of floats, times and decimals
        return ""
    if isinstance(value, float) and whole and math.isfinite(value):
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool | list | dict):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)


def arrow_values(column: Any) -> list[Any]:
    """Return the cells of a column of Arrow; of 32 bits, 0.1 is 0.1 and not 0.10000000149011612."""
    import pyarrow as pa

    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        import numpy as np

        return [None if value is None else float(str(np.float32(value))) for value in column.to_pylist()]
    values: list[Any] = column.to_pylist()
    return values
