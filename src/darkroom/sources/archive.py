"""Unpacking an archive into one spool file; no file is ever written under a name from the archive."""

import bz2
import errno
import gzip
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple, cast

from darkroom.base.errors import InputError
from darkroom.data.listing import printable
from darkroom.sources.entries import Entry

BLOCK_BYTES = 1 << 20
# Small sets of flat drawings compress a thousandfold; the ratio shows a zip bomb only above this size.
RATIO_FREE_BYTES = 50_000_000
COMPRESSIONS: dict[bytes, Callable[[BinaryIO], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError)


class Limits(NamedTuple):
    """Limits of what an archive may unpack to."""

    max_files: int
    max_bytes: float
    max_ratio: float


def unpack(archive: Path, spool: IO[bytes], limits: Limits, where: str) -> list[Entry]:
    """Append the files of a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz to a spool file.

    Parameters
    ----------
    archive
        Its format is recognised by its first bytes, not by its name.
    spool
        An open, empty file; it has to stay open while the entries are read.
    limits
        An archive that exceeds them is refused.
    where
        Name of the archive in error messages.

    Returns
    -------
    entries
        The folders, and the files, which are read from the spool file.

    Raises
    ------
    InputError
        If the archive is damaged or encrypted, has members that are neither files nor folders, names that repeat or lead out of
        it, or exceeds the limits. Sizes are counted while unpacking, since headers may be wrong.
    """
    counter = _Counter(limits, archive.stat().st_size, where)
    with _opened(archive, counter) as members:
        return list(_spool(members, spool, counter))


def iterate_files(archive: Path, limits: Limits, where: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the name of each file in an archive, and the blocks of its content, to be read before the next name or not at all.

    Nothing is written to disk. Parameters and errors are those of `unpack`, but names may repeat.
    """
    counter = _Counter(limits, archive.stat().st_size, where)
    with _opened(archive, counter) as members:
        for member in members:
            counter.add_member()
            name = _checked_name(member.name, where)
            if member.blocks is not None and name:
                yield name, member.blocks


@contextmanager
def _opened(archive: Path, counter: "_Counter") -> Iterator[Iterator["_Member"]]:
    """Yield the members of an archive; what goes wrong in the block is an error of it."""
    with archive.open("rb") as file:
        magic = file.read(6)
        file.seek(0)
        is_zip = magic[:4] in (b"PK\x03\x04", b"PK\x05\x06")
        opener = next((opener for start, opener in COMPRESSIONS.items() if magic.startswith(start)), None)
        try:
            yield _zip_members(file, counter) if is_zip else _tar_members(opener(file) if opener else file, counter)
        except InputError:
            raise
        except DAMAGE as error:
            # A full disk is not an error of the archive; an offset before its beginning (EINVAL) is.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            reason = str(error) or type(error).__name__
            where = counter.where
            raise InputError(f"{where}: is not a .zip or .tar.* archive, or is damaged ({reason}); download it again") from error


class _Member(NamedTuple):
    name: str
    blocks: Iterator[bytes] | None
    """The content of a file; None for a folder."""


class _Counter:
    """Counts the members and bytes of an archive, and stops unpacking at a limit."""

    def __init__(self, limits: Limits, packed_bytes: int, where: str):
        self.limits, self.packed_bytes, self.where = limits, packed_bytes, where
        self.num_members, self.num_bytes = 0, 0

    def add_member(self) -> None:
        self.num_members += 1
        if self.num_members > self.limits.max_files:
            raise InputError(
                f"{self.where}: has more than {self.limits.max_files} files; if that is right, raise download.max_files"
            )

    def add_bytes(self, count: int) -> None:
        self.num_bytes += count
        if self.num_bytes > self.limits.max_bytes:
            raise InputError(
                f"{self.where}: unpacks to more than {self.limits.max_bytes / 1e9:g} GB; "
                "if that is right, raise download.max_gigabytes"
            )
        if self.num_bytes > max(RATIO_FREE_BYTES, self.limits.max_ratio * self.packed_bytes):
            raise InputError(
                f"{self.where}: unpacks to more than {self.limits.max_ratio:g} times its size, like a zip bomb; "
                "if that is right, raise download.max_ratio"
            )


def _spool(members: Iterator[_Member], spool: IO[bytes], counter: _Counter) -> Iterator[Entry]:
    seen: set[str] = set()
    for member in members:
        counter.add_member()
        name = _checked_name(member.name, counter.where)
        if member.blocks is None:
            if name:
                yield Entry(name, "folder")
            continue
        if not name or name in seen:
            raise _refused(counter.where, member.name, "occurs twice")
        seen.add(name)
        offset = spool.tell()
        spool.writelines(member.blocks)
        yield Entry(name, "file", partial(_read_spool, spool, offset, spool.tell() - offset))
    spool.flush()


def _read_spool(spool: IO[bytes], offset: int, length: int) -> bytes:
    # pread moves no file position, so that threads can share the file.
    return os.pread(spool.fileno(), length, offset)


def _checked_name(name: str, where: str) -> str:
    """Return a member's name without `.` and empty parts; '' for the root."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name):
        raise _refused(where, name, "is an absolute path")
    if ".." in re.split(r"[/\\]", name):
        raise _refused(where, name, "leads out of the archive")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _refused(where: str, name: str, what: str) -> InputError:
    return InputError(f"{where}: its member '{printable(name)}' {what}; pack it again with regular files only")


class _Header(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        """Read a header; tarfile would take a damaged one for the end of the archive and silently ignore the rest."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            # The end of an archive is nothing, or a block of zeros.
            if not buf or not any(buf):
                raise
            raise ValueError(str(error)) from error


class _CountedStream:
    """The unpacked bytes of a tar archive, counted with headers and padding, which can be a zip bomb as well."""

    def __init__(self, stream: IO[bytes], counter: _Counter):
        self.stream, self.counter = stream, counter

    def read(self, size: int) -> bytes:
        block = self.stream.read(size)
        self.counter.add_bytes(len(block))
        return block


def _tar_members(stream: IO[bytes], counter: _Counter) -> Iterator[_Member]:
    counted = _CountedStream(stream, counter)
    # The mode "r|" never seeks. A larger `bufsize` is far slower, since the rest of it is copied for each header.
    with tarfile.open(fileobj=cast(IO[bytes], counted), mode="r|", tarinfo=_Header, encoding="utf-8") as tar:
        for info in tar:
            # Checked first, since isreg is true as well: their holes take no space in the archive, but would be written as zeros.
            if info.issparse():
                raise _refused(counter.where, info.name, "is sparse")
            if info.isdir():
                yield _Member(info.name, None)
            elif info.isreg():
                yield _Member(info.name, _blocks(cast(IO[bytes], tar.extractfile(info))))
            elif info.issym() or info.islnk():
                raise _refused(counter.where, info.name, "is a link")
            else:
                raise _refused(counter.where, info.name, "is a device, a pipe or another special file")
            # tarfile keeps every header that it has read.
            tar.members.clear()  # type: ignore[attr-defined]
    # Up to the end, where the checksum of the compression is.
    while counted.read(BLOCK_BYTES):
        pass


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _zip_members(file: IO[bytes], counter: _Counter) -> Iterator[_Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = _zip_name(info)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.flag_bits & 0x1:
                raise _refused(counter.where, name, "is encrypted")
            if kind == stat.S_IFLNK:
                raise _refused(counter.where, name, "is a link")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(counter.where, name, "is a device, a pipe or another special file")
            yield _Member(name, None if info.is_dir() else _zip_blocks(archive, info, counter))


def _zip_blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, counter: _Counter) -> Iterator[bytes]:
    for block in _blocks(archive.open(info)):
        counter.add_bytes(len(block))
        yield block


def _zip_name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    # Without the flag for UTF-8, zipfile decodes code page 437; most programs that do not set the flag write UTF-8 anyway.
    return name if info.flag_bits & 0x800 else name.encode("cp437").decode("utf-8", "surrogateescape")
