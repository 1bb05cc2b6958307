"""The list of what is predicted, on disk: memory does not grow with it, and what is named twice is in it once. No torch."""

import hashlib
import json
import sqlite3
import weakref
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from darkroom.base.errors import InputError, RunError
from darkroom.data.listing import printable
from darkroom.prediction.find_photos import ARRAY, Places


class Entry(NamedTuple):
    """A line of the list."""

    kind: Literal["file", "archive", "http", "object", "camera"]
    name: str
    """Path, address, or number of the camera."""
    label: str | None = None
    """The class that a table says."""
    stamp: Any = None
    """What changes with the content: size and time of a file, the attributes of an object."""
    is_named: bool = True
    """Whether it was named itself, and not found in a folder."""

    @property
    def may_be_no_image(self) -> bool:
        """Whether it is an array in a folder, which is an image for some models alone."""
        return not self.is_named and self.name.lower().endswith(ARRAY)


class Entries:
    """The entries in the order in which they came, each file and address once; the list is a temporary file without a name.

    Attributes
    ----------
    arrays : int
        Arrays in folders.
    num_repeated : int
        How many came again.
    first_repeated : str or None
        The first of them.
    """

    def __init__(self) -> None:
        # Without a name it is a temporary file, of which some megabytes are in memory.
        self._file = sqlite3.connect("", check_same_thread=False)
        weakref.finalize(self, self._file.close)  # it lives as long as the list
        for line in (
            "PRAGMA journal_mode = OFF",
            "CREATE TABLE entries (number INTEGER PRIMARY KEY, key BLOB UNIQUE, entry TEXT)",
        ):
            self._file.execute(line)
        self._places = Places()
        self.arrays = self.num_repeated = 0
        self.first_repeated: str | None = None

    def add(self, entry: Entry) -> bool:
        """Add an entry, and return whether it is new; a label is kept, whichever of the same entries has it.

        Raises
        ------
        InputError
            If it was there with another label.
        RunError
            If the disk is full.
        """
        try:
            return self._add(entry, self._key(entry))
        except sqlite3.Error as error:  # the disk is full
            raise RunError(f"predict: the list of images cannot be kept ({error}); free the disk, or set TMPDIR") from error

    def _add(self, entry: Entry, key: bytes | None) -> bool:
        values = (key, json.dumps(entry))
        if self._file.execute("INSERT OR IGNORE INTO entries (key, entry) VALUES (?, ?)", values).rowcount:
            self.arrays += entry.may_be_no_image
            return True
        ((text,),) = self._file.execute("SELECT entry FROM entries WHERE key = ?", (key,))
        before = Entry(*json.loads(text))
        if None not in (before.label, entry.label) and before.label != entry.label:
            one, other = printable(str(before.label)), printable(str(entry.label))
            raise InputError(f"{printable(entry.name)}: has the label '{one}' and, named again, '{other}'; correct one of them")
        label = entry.label if before.label is None else before.label
        merged = before._replace(label=label, is_named=before.is_named or entry.is_named)
        self.arrays += merged.may_be_no_image - before.may_be_no_image
        self.num_repeated += 1
        self.first_repeated = self.first_repeated or entry.name
        self._file.execute("UPDATE entries SET entry = ? WHERE key = ?", (json.dumps(merged), key))
        return False

    def digest(self) -> str:
        """Return the SHA-256 of the list."""
        hashed = hashlib.sha256()
        for line in self._lines():
            hashed.update(line.encode() + b"\n")
        return hashed.hexdigest()

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries; several may do so side by side."""
        for line in self._lines():
            yield Entry(*json.loads(line))

    def _key(self, entry: Entry) -> bytes | None:
        """Return what is equal for two spellings of one file or address; None of a camera, whose frames differ."""
        if entry.kind == "camera":
            return None
        is_path = entry.kind in ("file", "archive")
        place = self._places.of(entry.name) if is_path else entry.name
        return hashlib.blake2b(f"{is_path} {place}".encode("utf-8", "surrogatepass"), digest_size=16).digest()

    def _lines(self) -> Iterator[str]:
        for (line,) in self._file.execute("SELECT entry FROM entries ORDER BY number"):
            yield line
