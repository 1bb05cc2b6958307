"""Writing files and folders atomically, so that a reader sees the old or the new content; and hashing them."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Prefix of temporary names, by which the leftovers of killed processes are recognised.
WRITING = ".writing-"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A number, an infinite one too, or a time of day or zone, with its sign.
SIGNED = re.compile(
    r"[+-]((\d+([.,]\d+)*[.,]?|[.,]\d+)(e[+-]?\d+)?%?|inf(inity)?|\d{1,2}:\d\d(:\d\d([.,]\d+)?)?)", re.ASCII | re.IGNORECASE
)
# Key of the hash in a file that contains its own hash.
SEAL = "content_sha256"


@contextmanager
def replaced_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that replaces `path` when the block succeeds.

    An existing file is never written to, since DVC may have linked it to its cache.
    """
    with _temporary_file(path) as temporary:
        yield temporary
        _finish(temporary)
        temporary.replace(path)
        _sync(path.parent)


def write_hash_named(directory: Path, stem: str, suffix: str, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file that is then renamed to `<stem>-<its SHA-256><suffix>`; return its path."""
    with _temporary_file(directory / f"{stem}{suffix}") as temporary:
        write(temporary)
        _finish(temporary)
        path = directory / f"{stem}-{sha256(temporary)}{suffix}"
        temporary.replace(path)
        _sync(directory)
    return path


def has_named_hash(path: Path) -> bool:
    """Return whether a file exists and has the content that `write_hash_named` wrote."""
    return path.is_file() and sha256(path) == named_hash(path)


def named_hash(path: Path) -> str:
    """Return the SHA-256 in the name that `write_hash_named` gave."""
    return path.stem.rpartition("-")[2]


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, so that a power cut does not lose their names."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync(folder.parent)


def make_file(path: Path) -> None:
    """Create an empty file, unless it is there, so that a power cut does not lose its name."""
    make_folder(path.parent)
    if not path.exists():
        path.touch()
        _sync(path.parent)


@contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    make_folder(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f"{WRITING}{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        with naming(path):
            yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _finish(temporary: Path) -> None:
    # mkstemp makes files private; outputs of a stage have the usual permissions.
    temporary.chmod(0o666 & ~_umask())
    _sync(temporary)


@contextmanager
def replaced_dir(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` that replaces it when the block succeeds; if it fails, `path` is unchanged."""
    make_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=f"{WRITING}{path.name}.", dir=path.parent))
    try:
        with naming(path):
            yield temporary
        for file in (*temporary.rglob("*"), temporary):
            _sync(file)
        temporary.chmod(0o777 & ~_umask())
        if path.is_dir() and not path.is_symlink():
            with _put_aside(path):
                temporary.replace(path)
        else:
            path.unlink(missing_ok=True)
            temporary.replace(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _put_aside(path: Path) -> Iterator[None]:
    """Remove a folder if the block succeeds; put it back if it fails."""
    aside = Path(tempfile.mkdtemp(prefix=f"{WRITING}{path.name}.", dir=path.parent))
    try:
        path.replace(aside / "old")
        yield
    except BaseException:
        with suppress(FileNotFoundError):
            (aside / "old").replace(path)
        aside.rmdir()
        raise
    shutil.rmtree(aside)


def sweep(directory: Path) -> None:
    """Remove what killed processes left in a folder; the caller must know that no process writes there now."""
    for rest in directory.glob(f"{WRITING}*"):
        shutil.rmtree(rest) if rest.is_dir() else rest.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replaced_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, the same bytes for the same content; NaN is refused."""
    write_text(path, _json(content))


def write_sealed_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON that contains the SHA-256 of its own bytes, so that `read_sealed_json` detects any change."""
    before, mark, after = _json(content | {SEAL: ""}).rpartition(f'"{SEAL}": "')
    write_text(path, before + mark + _text_sha256(before + mark + after) + after)


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Read JSON that `write_sealed_json` wrote, without the hash.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it was changed since.
    """
    return parse_sealed_json(read_regular(path))


def parse_sealed_json(data: bytes) -> dict[str, Any]:
    """Return the content that `write_sealed_json` wrote, without the hash; raise ValueError if it was changed."""
    before, mark, after = data.decode("utf-8").rpartition(f'"{SEAL}": "')
    if not mark or _text_sha256(before + mark + after[64:]) != after[:64]:
        raise ValueError("its content does not have the SHA-256 that it records")
    try:
        content: dict[str, Any] = json.loads(before + mark + after)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it is not an object")
    del content[SEAL]
    return content


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_regular(path: Path, at_most: int | None = None) -> bytes:
    """Read a file of `at_most` bytes.

    Raises
    ------
    OSError
        Also of a pipe or a device, which could have no end, and of a larger file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    if at_most is not None and path.stat().st_size > at_most:
        raise OSError(errno.EFBIG, f"is larger than {at_most // 1_000_000} MB", str(path))
    return path.read_bytes()


def csv_text(text: str) -> str:
    """Return text for a CSV cell; an apostrophe is put before text that a spreadsheet would take for a formula.

    Numbers and times are no formulas, also with a sign.
    """
    is_formula = text.startswith(("=", "+", "-", "@", "\t", "\r")) and not SIGNED.fullmatch(text)
    return "'" + text if is_formula else text


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add a path to errors of a full disk, which have none when they come from writing to an open file."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in FULL:
            error.filename = str(path)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def _umask() -> int:
    # The umask can only be read by setting it.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
