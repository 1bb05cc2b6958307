"""The files and folders in a folder or an archive, by name; a file is read only when it is needed."""

import os
import stat
import sys
import unicodedata
from collections.abc import Callable, Container, Hashable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from darkroom.base.errors import InputError
from darkroom.data.images import ImageError
from darkroom.data.listing import printable

MAX_FILE_BYTES = 1 << 30


class Entry(NamedTuple):
    """A file or folder in a folder or an archive, by its relative path with `/`."""

    name: str
    kind: Literal["file", "folder", "link"]
    """`link` is a link to a folder; a link to a file is a file."""
    read: Callable[[], bytes] | None = None
    """For files; raises `ImageError`."""
    target: Path | None = None
    """For links: the folder, unless it is one of the set or holds it."""

    @property
    def parts(self) -> list[str]:
        """The names of its folders, then its own."""
        return self.name.split("/")


def scan(root: Path) -> Iterator[Entry]:
    """Yield everything in a folder and its folders; links to folders are not followed, and no file is opened."""
    pending, whole = [""], root.resolve()
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as found:
                entries = list(found)
        except OSError as error:
            place = printable(str(root / folder))
            raise InputError(f"{place}: cannot be listed ({error.strerror}); fix its permissions, or remove it") from None
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(name)
                yield Entry(name, "folder")
            elif entry.is_symlink() and Path(entry.path).is_dir():
                target = Path(entry.path).resolve()
                within = target.is_relative_to(whole) or whole.is_relative_to(target)
                yield Entry(name, "link", target=None if within else target)
            else:
                yield Entry(name, "file", partial(read_file, entry.path))


def read_file(path: str | Path) -> bytes:
    """Read a regular file; nothing else is opened, since opening a named pipe waits for a writer."""
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("is not a regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError("is larger than 1 GiB")
        return Path(path).read_bytes()
    except OSError as error:
        dangling = isinstance(error, FileNotFoundError) and Path(path).is_symlink()
        raise ImageError("is a broken link" if dangling else f"cannot be read ({error.strerror})") from None


def member_name(members: Container[str], name: str) -> str:
    """Return a name as the files have it: accents may be characters of their own in one of the two, as macOS writes them."""
    spellings = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    return next((each for each in spellings if each in members), name)


def read_member(members: dict[str, Callable[[], bytes]], name: str) -> bytes:
    """Return a file of an archive or a remote folder.

    Raises
    ------
    ImageError
        If there is no file of that name.
    """
    found = member_name(members, name)
    if found not in members:
        raise ImageError("does not exist")
    return members[found]()


class FilesBelow:
    """The files below a folder, by their relative paths."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __contains__(self, path: object) -> bool:
        return (self.folder / str(path)).exists()

    def read(self, path: str) -> bytes:
        """Return the bytes of a file; raises `ImageError`."""
        return read_file(self.folder / member_name(self, path))

    def identity(self, path: str) -> Hashable:
        """Return what is equal for two spellings of a path, also on a file system that takes capitals for small letters."""
        try:
            status = (self.folder / member_name(self, path)).stat()
        except OSError:
            return path
        return status.st_dev, status.st_ino


def refuse_outside(found: Iterable[str], shown: str, folder: Path) -> None:
    """Refuse files of a data set that DVC does not hash with its folder, and report them where no Python opens them.

    Parameters
    ----------
    found
        What the data set names.
    shown
        The folder in error messages.
    folder
        What DVC hashes.

    Raises
    ------
    InputError
        Naming the first that is elsewhere.
    """
    for path in found:
        sys.audit("open", path, "rb", os.O_RDONLY)  # Arrow opens it itself, which darkroom.stage.observed would not hear
        if not Path(path).resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{shown}: reads {path}, which is outside of the folder; copy it there, and correct README.md or state.json"
            )
