"""What is to be predicted, listed once: files, folders, globs, lists, tables, archives, addresses, cameras. No torch.

The list is kept on disk, see `entries`, and its hash says whether it changed.
"""

import codecs
import glob
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from darkroom.base.errors import InputError, nearest_path, warn
from darkroom.base.params import Columns
from darkroom.batch.entries import Entries, Entry
from darkroom.batch.tables import ENDINGS as TABLES
from darkroom.batch.tables import iterate_table
from darkroom.data.images import EXTENSIONS
from darkroom.data.listing import junk_of, printable
from darkroom.prediction.find_photos import described_files, no_image, walk_images
from darkroom.sources.remote import Store, is_remote, stamp_of

ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".tar.gz", ".tar.bz2", ".tar.xz")
CAMERA = re.compile(r"camera:(\d{1,3})")
HTTP = re.compile(r"https?://", re.IGNORECASE)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
STDIN = "-"
# Byte order marks, which Notepad and PowerShell write.
UTF_8, UTF_16 = codecs.BOM_UTF8, (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
KEY = "predict"


class Listing:
    """The list of what is to be predicted.

    Parameters
    ----------
    chosen
        As on the command line: images, folders of them, globs, archives, tables, addresses, `@list`, `-` and `camera:0`.
    columns
        `download.columns` of params.yaml, for tables.

    Attributes
    ----------
    digest : str
        SHA-256 of the list, with sizes and times of files: it says whether the input changed.
    has_labels : bool
        Whether a table says the class of any image.
    has_addresses : bool
        Whether images are read over a network.

    Raises
    ------
    InputError
        If something does not exist, or holds no image. What a list or a table names is looked for when it is read.
    """

    def __init__(self, chosen: Sequence[str | Path], columns: Columns):
        self.columns = columns
        self.has_labels = self.has_addresses = False
        self._count, self._is_counted = 0, True
        self._entries = Entries()
        for each in map(str, chosen):
            for entry in self._named(each):
                if self._entries.add(entry):
                    self._count += self._num_images(entry)
        self.digest = self._entries.digest()
        if (first := self._entries.first_repeated) is not None:
            more = f" (and {self._entries.num_repeated - 1} more)" if self._entries.num_repeated > 1 else ""
            warn(f"{printable(first)}: is named more than once{more}, and predicted once")

    def total(self, *, arrays: bool) -> int | None:
        """Return the number of images; None if an archive has to be read to its end to know it.

        `arrays`: whether arrays in folders are images for the model.
        """
        return self._count - (0 if arrays else self._entries.arrays) if self._is_counted else None

    def entries(self, *, arrays: bool) -> Iterator[Entry]:
        """Yield what is listed, in order."""
        return (entry for entry in self._entries if arrays or not entry.may_be_no_image)

    def files(self, *, arrays: bool) -> list[Path]:
        """Return the images where all are files.

        Raises
        ------
        InputError
            If one of them is something else.
        """
        found = list(self.entries(arrays=arrays))
        if other := next((entry for entry in found if entry.kind != "file"), None):
            raise InputError(f"{other.name}: a pretrained network reads files and folders alone; leave out --backbone")
        return [Path(entry.name) for entry in found]

    def _named(self, text: str) -> Iterator[Entry]:
        """Yield what an argument stands for."""
        # Path('') is the current folder: with an unset variable, `predict "$photo"` would predict whatever is in there.
        if not text:
            raise InputError(f"{KEY}: one of the paths is empty; name an image or a folder")
        if text == STDIN:
            yield from self._listed(sys.stdin.buffer, "standard input")
        elif text.startswith("@"):
            path = Path(text[1:]).expanduser()
            if path.is_dir():
                raise InputError(f"{text}: is a folder, not a list of paths; name it without @")
            if not path.is_file():
                raise InputError(
                    f"{text}: the list does not exist; {nearest_path(text[1:], 'name a file with a path in each line')}"
                )
            with path.open("rb") as lines:
                yield from self._listed(lines, text)
        else:
            yield from self._one(text)

    def _listed(self, lines: Iterable[bytes], where: str) -> Iterator[Entry]:
        """Yield what the lines of a list name; a file that does not exist is found missing when it is read."""
        is_empty = True
        for number, line in enumerate(lines, 1):
            if b"\0" in line or line.startswith(UTF_16):
                raise InputError(f"{where}: line {number} is no text in UTF-8, but perhaps in UTF-16; save it as UTF-8")
            text = line.removeprefix(UTF_8 if number == 1 else b"").rstrip(b"\r\n").decode("utf-8", "surrogateescape")
            if text.strip():
                is_empty = False
                yield from self._one(text, must_exist=False)
        if is_empty:
            raise InputError(f"{where}: the list is empty; write a path in each line")

    def _one(self, text: str, *, must_exist: bool = True) -> Iterator[Entry]:
        if match := CAMERA.fullmatch(text):
            yield Entry("camera", match[1])
        elif HTTP.match(text) or is_remote(text):
            yield from self._address(text)
        elif SCHEME.match(text) and not Path(text).exists():
            raise InputError(f"{text}: is no address that can be read; use http://, https://, s3://, gs://, azure:// or ssh://")
        else:
            yield from self._path(text, must_exist=must_exist)

    def _path(self, text: str, *, must_exist: bool) -> Iterator[Entry]:
        path = Path(text)
        ending = path.suffix.lower()
        if path.is_dir():
            yield from self._folder(path)
        elif path.is_file() and ending in TABLES:
            yield from self._table(path)
        elif path.is_file() and path.name.lower().endswith(ARCHIVES):
            yield Entry("archive", text, stamp=_stamp(path))
        elif path.is_file() or not must_exist:
            yield Entry("file", text, stamp=_stamp(path))
        elif path.exists():
            raise InputError(f"{path}: is no file or folder; name an image or a folder")
        elif glob.has_magic(text):
            yield from self._glob(text)
        else:
            raise InputError(f"{path}: does not exist; {nearest_path(text, 'name an image or a folder')}")

    def _folder(self, path: Path) -> Iterator[Entry]:
        left_out: list[tuple[str, str]] = []
        is_empty = True
        for each in walk_images(path, left_out):
            is_empty = False
            yield Entry("file", str(each), stamp=_stamp(each), is_named=False)
        if is_empty:
            raise no_image(path, left_out)
        if left_out:
            warn(f"{path}: {described_files(left_out)} {'is' if len(left_out) == 1 else 'are'} left out")

    def _glob(self, text: str) -> Iterator[Entry]:
        """Yield the images that fit a pattern; `**` stands for any folders."""
        found = sorted(each for each in map(Path, glob.iglob(text, recursive=True)) if each.suffix.lower() in EXTENSIONS)  # noqa: PTH207
        if not found:
            raise InputError(f"{text}: fits no image ({', '.join(EXTENSIONS)}); correct the pattern")
        for each in found:
            yield Entry("file", str(each), stamp=_stamp(each))

    def _table(self, path: Path) -> Iterator[Entry]:
        """Yield the images of a table; paths are relative to its folder."""
        for row in iterate_table(path, self.columns):
            self.has_labels |= row.label is not None
            if HTTP.match(row.path) or is_remote(row.path):
                yield from (entry._replace(label=row.label) for entry in self._address(row.path))
            else:
                image = path.parent / row.path
                yield Entry("file", str(image), row.label, _stamp(image))

    def _num_images(self, entry: Entry) -> int:
        """Return how many images an entry is; of an archive it is known of a .zip alone."""
        if entry.kind != "archive":
            return 1
        path = Path(entry.name)
        if path.suffix.lower() != ".zip":
            self._is_counted = False
            return 0
        try:
            with zipfile.ZipFile(path) as archive:
                return sum(is_image(name) for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise InputError(f"{path}: is no .zip archive, or is damaged ({error}); make or download it again") from None

    def _address(self, text: str) -> Iterator[Entry]:
        self.has_addresses = True
        path = text.partition("?")[0].lower()
        if path.endswith((*ARCHIVES, *TABLES)):
            raise InputError(f"{text}: archives and tables are read from files; download it first")
        if HTTP.match(text) or path.endswith(EXTENSIONS):
            yield Entry("http" if HTTP.match(text) else "object", text)
            return
        store = Store(text, KEY)
        found = sorted((name, info) for name, info in store.find().items() if is_image(name) and info["type"] != "directory")
        if not found:
            raise InputError(f"{text}: holds no image ({', '.join(EXTENSIONS)}); name another folder")
        for name, info in found:
            stamp = {key: str(value) for key, value in (stamp_of(info) or {}).items()}
            yield Entry("object", f"{text.rstrip('/')}/{name}", stamp=stamp, is_named=False)


def is_image(name: str) -> bool:
    """Return whether a member of an archive or a remote folder is an image by its name, and neither hidden nor waste."""
    parts = name.split("/")
    return name.lower().endswith(EXTENSIONS) and not junk_of(name) and not any(part.startswith(".") for part in parts)


def _stamp(path: Path) -> list[int] | None:
    """Return size and time of a file in nanoseconds; None if it does not exist."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]
