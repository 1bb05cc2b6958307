"""From the path or address of an archive, and its SHA-256, to a file; downloads stay in a cache outside the repository."""

import fcntl
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from darkroom import files, paths
from darkroom.errors import InputError, RunError, warn
from darkroom.params import DownloadParams
from darkroom.sources.remote import BACKENDS, copy_remote, is_remote, shown_address

KEY = "params.yaml: download.archive"


def fetch(params: DownloadParams) -> Path:
    """Return the path of `download.archive`, whose content has been found to have `download.sha256`.

    What stands in the cache needs no network. Of a download that was broken off, the part is kept, and the next one goes on.

    Raises
    ------
    InputError
        If there is no such archive, or it is another than the checksum says.
    RunError
        If the server or the network fails.
    """
    if params.sha256 is None:
        # For local files too: DVC does not watch the archive, so the checksum is what tells it of a new one.
        raise InputError(
            "params.yaml: download.sha256: is null, so nothing tells a wrong archive from the right one; "
            "run './darkroom download --checksum', which prints it"
        )
    path = local_path(params)
    if path is None:
        return _fetch_url(params, params.sha256)
    found = files.sha256(path)
    if found != params.sha256:
        raise InputError(_mismatch(shown_archive(params), params.sha256, found) + _html_hint(path))
    return path


def checksum(params: DownloadParams) -> str:
    """Return the SHA-256 of `download.archive`, downloading it into the cache if need be; nothing is unpacked."""
    path = local_path(params)
    if path is not None:
        return files.sha256(path)
    address = hashlib.sha256(str(params.archive).encode()).hexdigest()
    part = _archives() / f"{address}.url.part"
    with locked(part.with_suffix(".lock")):
        part.unlink(missing_ok=True)
        _transfer(params, part)
        if hint := _html_hint(part):
            part.unlink()
            raise InputError(f"{shown_archive(params)}: {hint.lstrip('; ')}")
        found = files.sha256(part)
        part.replace(_archives() / found)
    return found


def shown_archive(params: DownloadParams) -> str:
    """Return the archive as people and dataset.json may see it: no user, password or query, which may hold a key; no folders."""
    archive = str(params.archive)
    if local_path(params, must_exist=False) is not None:
        return Path(archive).name
    if is_remote(archive):
        return shown_address(archive)
    address = urlsplit(archive)
    port = f":{address.port}" if address.port else ""
    return f"{address.scheme}://{address.hostname}{port}{address.path}"


def local_path(params: DownloadParams, *, must_exist: bool = True) -> Path | None:
    """Return the path of an archive on this machine; None for an address elsewhere."""
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
            raise InputError(f"{KEY}: {text} is a folder; set download.source to folder and name it in download.folder")
        raise InputError(f"{KEY}: {text} {'is no regular file' if path.exists() else 'does not exist'}; correct the path")
    return path


def _check_address(archive: str) -> None:
    try:
        address = urlsplit(archive)
        valid = bool(address.hostname) and (address.port is None or address.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"{KEY}: is no valid address; write it as https://host/path")


def _fetch_url(params: DownloadParams, expected: str) -> Path:
    target = _archives() / expected
    shown = shown_archive(params)
    with locked(target.with_suffix(".lock")):
        if target.exists():
            if files.sha256(target) == expected:
                return target
            warn(f"{target}: has changed since it was downloaded; it is downloaded anew")
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
            # An old part may be of something else: only a body that came in one go convicts the server.
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
        raise RunError(f"{folder}: cannot be made ({error.strerror}); set DARKROOM_CACHE to a folder that can") from None
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out while one downloads; the system opens the lock of a process that dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warn(f"{path.name}: another process is downloading the same; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _mismatch(shown: str, expected: str, found: str) -> str:
    return (
        f"{shown}: has the SHA-256 {found}, but download.sha256 is {expected}; "
        "nothing was unpacked: correct the address, or the checksum if you trust this file"
    )


def _html_hint(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    is_page = start.startswith((b"<!doctype html", b"<html"))
    return "; it is a web page, perhaps a login page: use an address that gives the file itself" if is_page else ""
