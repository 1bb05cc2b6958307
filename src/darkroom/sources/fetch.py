"""The archive of `download.archive` as a local file with the right SHA-256; downloads are cached outside the repository."""

import fcntl
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError, warn
from darkroom.base.params import DownloadParams
from darkroom.sources.remote import BACKENDS, copy_remote, is_remote, shown_address

KEY = "params.yaml: download.archive"


def fetch(params: DownloadParams) -> Path:
    """Return the path of `download.archive`, after checking that it has the SHA-256 `download.sha256`.

    An archive in the cache needs no network. A download that is interrupted is resumed the next time.

    Raises
    ------
    InputError
        If there is no such archive, or it has another checksum.
    RunError
        If the server or the network fails.
    """
    if params.sha256 is None:
        # For local files too: DVC does not watch the archive, but sees a new checksum.
        raise InputError(
            "params.yaml: download.sha256: is null, so the archive cannot be verified; "
            "run './darkroom download --checksum' and set the value that it prints"
        )
    path = local_path(params)
    if path is None:
        return _fetch_url(params, params.sha256)
    found = files.sha256(path)
    if found != params.sha256:
        raise InputError(_mismatch(shown_archive(params), params.sha256, found) + _html_hint(path))
    return path


def checksum(params: DownloadParams) -> str:
    """Return the SHA-256 of `download.archive`, which is downloaded to the cache if it is remote; nothing is unpacked."""
    path = local_path(params)
    if path is not None:
        return files.sha256(path)
    address = hashlib.sha256(str(params.archive).encode()).hexdigest()
    part = _archives() / f"{address}.url.part"
    with download_lock(part.with_suffix(".lock")):
        part.unlink(missing_ok=True)
        _transfer(params, part)
        if hint := _html_hint(part):
            part.unlink()
            raise InputError(f"{shown_archive(params)}: {hint.lstrip('; ')}")
        found = files.sha256(part)
        part.replace(_archives() / found)
    return found


def shown_archive(params: DownloadParams) -> str:
    """Return the archive for messages and dataset.json: without folders, user, password and query (a query may hold a key)."""
    archive = str(params.archive)
    if local_path(params, must_exist=False) is not None:
        return Path(archive).name
    if is_remote(archive):
        return shown_address(archive)
    address = urlsplit(archive)
    port = f":{address.port}" if address.port else ""
    return f"{address.scheme}://{address.hostname}{port}{address.path}"


def local_path(params: DownloadParams, *, must_exist: bool = True) -> Path | None:
    """Return the path of a local archive; None for a remote address."""
    archive = str(params.archive)
    if is_remote(archive):
        return None
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):(?=//)|(file|ftp|s3|gs|hf):", archive)
    kind = scheme[0].rstrip(":").lower() if scheme else "file"
    if kind in ("http", "https"):
        _check_address(archive)
        return None
    if kind != "file":
        known = ", ".join(f"{scheme}://" for scheme in ("file", "http", "https", *BACKENDS))
        raise InputError(f"{KEY}: '{kind}:' addresses are not supported; use a path, or one of {known}")
    text = unquote(urlsplit(archive).path) if scheme else archive
    path = paths.ROOT / Path(text).expanduser()
    if must_exist and not path.is_file():
        if path.is_dir():
            raise InputError(f"{KEY}: {text} is a folder; set download.source to folder and download.folder to it")
        raise InputError(f"{KEY}: {text} {'is not a regular file' if path.exists() else 'does not exist'}; correct the path")
    return path


def _check_address(archive: str) -> None:
    try:
        address = urlsplit(archive)
        valid = bool(address.hostname) and (address.port is None or address.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"{KEY}: is not a valid address; write it as https://host/path")


def _fetch_url(params: DownloadParams, expected: str) -> Path:
    target = _archives() / expected
    shown = shown_archive(params)
    with download_lock(target.with_suffix(".lock")):
        if target.exists():
            if files.sha256(target) == expected:
                return target
            warn(f"{target}: has changed since it was downloaded; downloading it again")
            target.unlink()
        part = target.with_suffix(".part")
        while True:
            resumed = part.exists() and part.stat().st_size > 0
            _transfer(params, part)
            found = files.sha256(part)
            if found == expected:
                part.replace(target)
                return target
            hint = _html_hint(part)
            part.unlink()
            # The earlier part may be of another archive; only a complete download shows that the server has the wrong one.
            if not resumed:
                raise InputError(_mismatch(shown, expected, found) + hint)


def _transfer(params: DownloadParams, part: Path) -> None:
    if is_remote(str(params.archive)):
        copy_remote(str(params.archive), part, KEY, params.max_gigabytes)
        return
    from darkroom.sources.http import transfer

    transfer(params, part, shown_archive(params))


def _archives() -> Path:
    folder = paths.cache_dir() / "archives"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be created ({error.strerror}); set DARKROOM_CACHE to another folder") from None
    return folder


@contextmanager
def download_lock(path: Path) -> Iterator[None]:
    """Let one process at a time download, and others wait; the system frees the lock of a process that dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warn(f"{path.name}: waiting for another process that downloads the same")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _mismatch(shown: str, expected: str, found: str) -> str:
    return (
        f"{shown}: has the SHA-256 {found}, but download.sha256 is {expected}, so nothing was unpacked; "
        "correct the address, or the checksum if you trust this file"
    )


def _html_hint(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    is_page = start.startswith((b"<!doctype html", b"<html"))
    return "; it is a web page, perhaps a login page: use an address of the file itself" if is_page else ""
