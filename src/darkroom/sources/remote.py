"""Folders and files behind s3://, gs://, azure:// and ssh:// addresses, opened by fsspec's backends where they are installed."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from darkroom.data.images import ImageError
from darkroom.data.listing import printable
from darkroom.errors import InputError, RunError, one_line
from darkroom.sources.folder import MAX_FILE_BYTES, Entry
from darkroom.sources.progress import progress_bar

BLOCK_BYTES = 1 << 23
Result = TypeVar("Result")


# A second listing has to see what changed since the first.
NO_CACHE = MappingProxyType({"use_listings_cache": False})


class Backend(NamedTuple):
    """What opens the addresses of a scheme."""

    protocol: str
    """fsspec's name of it."""
    package: str
    """Brings fsspec's backend, and lets DVC watch a folder there."""
    credentials: str
    """Where it looks for them; Darkroom never sees any."""
    options: Mapping[str, Any] = NO_CACHE
    """Arguments of the file system."""


# s3fs asks for the size before each read if it may divide it. It tries five times itself, and within each of these botocore
# does: with the usual five a server that says nothing would be waited for seven minutes.
S3_OPTIONS = {**NO_CACHE, "max_concurrency": 1, "config_kwargs": {"retries": {"max_attempts": 3}}}

AZURE = Backend("az", "dvc-azure", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or 'az login'")
BACKENDS = {
    "s3": Backend("s3", "dvc-s3", "AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, or ~/.aws", S3_OPTIONS),
    "gs": Backend("gs", "dvc-gs", "GOOGLE_APPLICATION_CREDENTIALS, or 'gcloud auth application-default login'"),
    "azure": AZURE,
    "az": AZURE,
    # It never caches, and takes no arguments but those of a connection.
    "ssh": Backend("ssh", "dvc-ssh", "~/.ssh/config and the SSH agent", MappingProxyType({})),
}
# What changes with an object's content, in the words of one backend or another.
STAMPS = ("size", "ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "created")


def is_remote(address: str) -> bool:
    """Return whether a path is an address that a backend opens."""
    return address.partition("://")[0] in BACKENDS and "://" in address


def shown_address(address: str) -> str:
    """Return an address as people and dataset.json may see it: without user and password."""
    return re.sub(r"(?<=://)[^/]*@", "", address).rstrip("/")


@contextmanager
def remote_folder(address: str, key: str) -> Iterator[list[Entry]]:
    """List what stands below an address, to be read until the block ends, when it must all be as it was.

    Parameters
    ----------
    address
        Of a folder.
    key
        The key of params.yaml that holds it.

    Raises
    ------
    InputError
        If nothing is there, or the backend is not installed.
    RunError
        If the network fails, credentials are missing or refused, or something there changed meanwhile: never counted as
        unreadable images, with which the set would shrink.
    """
    store = _Store(address, key)
    before = store.find()
    yield [_entry(store, name, info) for name, info in sorted(before.items())]
    after = store.find()
    changed = [name for name in sorted(before.keys() | after.keys()) if _stamp(before.get(name)) != _stamp(after.get(name))]
    if changed:
        raise store.changed(changed[0])


def copy_remote(address: str, part: Path, key: str, max_gigabytes: float) -> None:
    """Append to `part` until it holds all of the file behind an address.

    Raises
    ------
    InputError
        If there is no such file, it is too large, or the backend is not installed.
    RunError
        If the network fails, or credentials are missing or refused; the part is kept.
    """
    store = _Store(address, key)
    size = store.file_size()
    if size > max_gigabytes * 1e9:
        raise InputError(f"{store.shown}: is larger than {max_gigabytes:g} GB; if that is right, raise download.max_gigabytes")
    with part.open("ab") as file, progress_bar(f"download {store.shown}", size, of_bytes=True) as advance:
        # A part that is longer is of something else.
        if file.tell() > size:
            file.truncate(file.seek(0))
        advance(file.tell())
        while (start := file.tell()) < size:
            block = store.read(store.root, start=start, end=min(start + BLOCK_BYTES, size))
            if not block:
                raise RunError(f"{store.shown}: broke off after {start} of {size} bytes; run the same command again")
            file.write(block)
            advance(len(block))


class _Store:
    """What stands behind one address."""

    def __init__(self, address: str, key: str):
        self.key, self.shown = key, shown_address(address)
        self.scheme, _, rest = address.partition("://")
        self.backend = BACKENDS[self.scheme]
        if re.match(r"[^/@]*:[^/]*@", rest):
            raise InputError(f"{key}: holds a password, which would be recorded; leave it to {self.backend.credentials}")
        if not rest.strip("/"):
            raise InputError(f"{key}: names no bucket or host; write it as {self.scheme}://bucket/folder")
        try:
            from fsspec.core import url_to_fs

            options = {"skip_instance_cache": True, **self.backend.options}
            self.fs, root = self._call(partial(url_to_fs, f"{self.backend.protocol}://{rest}", **options))
        except ImportError:
            advice = f"run 'pip install -c requirements.txt {self.backend.package}'"
            raise InputError(f"{key}: {self.scheme}:// needs a package that is not installed; {advice}") from None
        self.root = root.rstrip("/")

    def find(self) -> dict[str, dict[str, Any]]:
        """Return what backends tell of each file and folder, by its name from here on."""
        try:
            found = self._call(partial(self.fs.find, self.root, withdirs=True, detail=True))
        except FileNotFoundError:
            found = {}
        if self.root in found and found[self.root]["type"] == "file":
            raise InputError(f"{self.key}: {self.shown} is no folder; correct it")
        start = f"{self.root}/"
        inside = {path.removeprefix(start): info for path, info in found.items() if path.startswith(start) and path != start}
        if not inside:
            raise InputError(f"{self.key}: {self.shown} does not exist, or is empty; correct it")
        return inside

    def file_size(self) -> int:
        """Return the size of the file that the address itself names."""
        try:
            info = self._call(partial(self.fs.info, self.root))
        except FileNotFoundError:
            raise InputError(f"{self.key}: {self.shown} does not exist; correct it") from None
        if info["type"] == "directory":
            advice = "set download.source to folder and name it in download.folder"
            raise InputError(f"{self.key}: {self.shown} is a folder; {advice}")
        return int(info["size"])

    def read(self, path: str, **part: int) -> bytes:
        """Return the bytes of a file, or a part of them."""
        try:
            return bytes(self._call(partial(self.fs.cat_file, path, **part), path.removeprefix(self.root)))
        except FileNotFoundError:
            raise self.changed(path.removeprefix(f"{self.root}/")) from None

    def changed(self, name: str) -> RunError:
        """Return the error that says so."""
        return RunError(f"{self.shown}: '{printable(name)}' changed while it was read; run the same command again")

    def _call(self, call: Callable[[], Result], name: str = "") -> Result:
        """Call a backend, which by itself tries again what may pass, and put what it raises on one line."""
        try:
            return call()
        except (FileNotFoundError, ImportError):
            raise
        # Each backend has exceptions of its own, of which few are OSErrors.
        except Exception as error:
            reason = re.sub(r"(?<=://)[^/\s]*@|(?<=\?)\S+", "…", one_line(error))[:200].rstrip(". ")
            raise RunError(
                f"{self.shown}{printable(name)}: cannot be read ({type(error).__name__}: {reason}); check the network and "
                f"the credentials ({self.backend.credentials}), and run the same command again"
            ) from error


def _entry(store: _Store, name: str, info: dict[str, Any]) -> Entry:
    # Object stores have no folders, but some programs write an empty object in place of one.
    if info["type"] == "directory" or (name.endswith("/") and not info["size"]):
        return Entry(name.rstrip("/"), "folder")
    if "" in name.split("/"):
        raise InputError(f"{store.shown}: '{printable(name)}' has a folder without a name; rename it")
    return Entry(name, "file", partial(_read_image, store, name, info["size"]))


def _read_image(store: _Store, name: str, size: int) -> bytes:
    if size > MAX_FILE_BYTES:
        raise ImageError("is larger than 1 GiB")
    data = store.read(f"{store.root}/{name}")
    if len(data) != size:
        raise store.changed(name)
    return data


def _stamp(info: dict[str, Any] | None) -> dict[str, Any] | None:
    return info and {key: info[key] for key in STAMPS if key in info and info["type"] != "directory"}
