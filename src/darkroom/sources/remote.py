"""Folders and files at s3://, gs://, azure:// and ssh:// addresses, read by backends of fsspec that are installed."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from darkroom.base.errors import InputError, RunError, one_line
from darkroom.data.images import ImageError
from darkroom.data.listing import printable
from darkroom.sources.entries import MAX_FILE_BYTES, Entry
from darkroom.sources.progress import progress_bar

BLOCK_BYTES = 1 << 23
Result = TypeVar("Result")


# The second listing has to see what changed since the first.
NO_CACHE = MappingProxyType({"use_listings_cache": False})


class Backend(NamedTuple):
    """What opens addresses of one scheme."""

    protocol: str
    """Its name in fsspec."""
    package: str
    """Package with the backend of fsspec, and with what DVC needs to watch a folder there."""
    credentials: str
    """Where it looks for credentials; Darkroom never reads them."""
    options: Mapping[str, Any] = NO_CACHE
    """Arguments of the file system."""


# With more than one request at a time, s3fs asks for the size before each read. It tries five times, and botocore tries again
# within each: with its default of five, waiting for a server that does not respond takes seven minutes.
S3_OPTIONS = {**NO_CACHE, "max_concurrency": 1, "config_kwargs": {"retries": {"max_attempts": 3}}}

AZURE = Backend("az", "dvc-azure", "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or 'az login'")
BACKENDS = {
    "s3": Backend("s3", "dvc-s3", "AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, or ~/.aws", S3_OPTIONS),
    "gs": Backend("gs", "dvc-gs", "GOOGLE_APPLICATION_CREDENTIALS, or 'gcloud auth application-default login'"),
    "azure": AZURE,
    "az": AZURE,
    # It never caches, and accepts only arguments of the connection.
    "ssh": Backend("ssh", "dvc-ssh", "~/.ssh/config and the SSH agent", MappingProxyType({})),
}
# Attributes that change with the content of an object, under the names of the various backends.
STAMPS = ("size", "ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "created")


def is_remote(address: str) -> bool:
    """Return whether a path is the address of a backend."""
    return address.partition("://")[0] in BACKENDS and "://" in address


def shown_address(address: str) -> str:
    """Return an address for messages and dataset.json: without user and password."""
    return re.sub(r"(?<=://)[^/]*@", "", address).rstrip("/")


@contextmanager
def remote_folder(address: str, key: str) -> Iterator[list[Entry]]:
    """List the folder at an address. It can be read until the block ends; then it must not have changed.

    Parameters
    ----------
    address
        Of a folder.
    key
        The key of params.yaml with the address.

    Raises
    ------
    InputError
        If nothing is there, or the backend is not installed.
    RunError
        If the network fails, credentials are missing or refused, or the folder changed meanwhile. Such images are never skipped
        as unreadable, which would shrink the set.
    """
    store = Store(address, key)
    before = store.find()
    yield [_entry(store, name, info) for name, info in sorted(before.items())]
    after = store.find()
    changed = [name for name in sorted(before.keys() | after.keys()) if stamp_of(before.get(name)) != stamp_of(after.get(name))]
    if changed:
        raise store.changed(changed[0])


def copy_remote(address: str, part: Path, key: str, max_gigabytes: float) -> None:
    """Append to `part` until it is all of the file at an address.

    Raises
    ------
    InputError
        If there is no such file, it is too large, or the backend is not installed.
    RunError
        If the network fails, or credentials are missing or refused; the part is kept.
    """
    store = Store(address, key)
    size = store.file_size()
    if size > max_gigabytes * 1e9:
        raise InputError(f"{store.shown}: is larger than {max_gigabytes:g} GB; if that is right, raise download.max_gigabytes")
    with part.open("ab") as file, progress_bar(f"download {store.shown}", size, of_bytes=True) as advance:
        # A longer part belongs to another file.
        if file.tell() > size:
            file.truncate(file.seek(0))
        advance(file.tell())
        while (start := file.tell()) < size:
            block = store.read(store.root, start=start, end=min(start + BLOCK_BYTES, size))
            if not block:
                raise RunError(f"{store.shown}: ended after {start} of {size} bytes; run the same command again")
            file.write(block)
            advance(len(block))


class Store:
    """The file or folder at one address."""

    def __init__(self, address: str, key: str):
        self.key, self.shown = key, shown_address(address)
        self.scheme, _, rest = address.partition("://")
        self.backend = BACKENDS[self.scheme]
        if re.match(r"[^/@]*:[^/]*@", rest):
            raise InputError(f"{key}: contains a password, which would be recorded; use {self.backend.credentials}")
        if not rest.strip("/"):
            raise InputError(f"{key}: has no bucket or host; write it as {self.scheme}://bucket/folder")
        try:
            from fsspec.core import url_to_fs

            options = {"skip_instance_cache": True, **self.backend.options}
            self.fs, root = self.call(partial(url_to_fs, f"{self.backend.protocol}://{rest}", **options))
        except ImportError:
            advice = f"run 'pip install -c requirements.txt {self.backend.package}'"
            raise InputError(f"{key}: {self.scheme}:// needs a package that is not installed; {advice}") from None
        self.root = root.rstrip("/")

    def find(self) -> dict[str, dict[str, Any]]:
        """Return the attributes of each file and folder in this folder, by relative path."""
        try:
            found = self.call(partial(self.fs.find, self.root, withdirs=True, detail=True))
        except FileNotFoundError:
            found = {}
        if self.root in found and found[self.root]["type"] == "file":
            raise InputError(f"{self.key}: {self.shown} is not a folder; correct it")
        start = f"{self.root}/"
        inside = {path.removeprefix(start): info for path, info in found.items() if path.startswith(start) and path != start}
        if not inside:
            raise InputError(f"{self.key}: {self.shown} does not exist, or is empty; correct it")
        return inside

    def file_size(self) -> int:
        """Return the size of the file that the address itself names."""
        try:
            info = self.call(partial(self.fs.info, self.root))
        except FileNotFoundError:
            raise InputError(f"{self.key}: {self.shown} does not exist; correct it") from None
        if info["type"] == "directory":
            advice = "set download.source to folder and download.folder to it"
            raise InputError(f"{self.key}: {self.shown} is a folder; {advice}")
        return int(info["size"])

    def read(self, path: str, **part: int) -> bytes:
        """Return the bytes of a file, or a part of them."""
        try:
            return bytes(self.call(partial(self.fs.cat_file, path, **part), path.removeprefix(self.root)))
        except FileNotFoundError:
            raise self.changed(path.removeprefix(f"{self.root}/")) from None

    def changed(self, name: str) -> RunError:
        """Return the error for a file that changed meanwhile."""
        return RunError(f"{self.shown}: '{printable(name)}' changed while it was read; run the same command again")

    def call(self, call: Callable[[], Result], name: str = "") -> Result:
        """Call a backend, which repeats failed requests by itself, and turn what it raises into one line."""
        try:
            return call()
        except (FileNotFoundError, ImportError):
            raise
        # Each backend has its own exceptions, few of which are OSErrors.
        except Exception as error:
            reason = re.sub(r"(?<=://)[^/\s]*@|(?<=\?)\S+", "…", one_line(error))[:200].rstrip(". ")
            raise RunError(
                f"{self.shown}{printable(name)}: cannot be read ({type(error).__name__}: {reason}); check the network and "
                f"the credentials ({self.backend.credentials}), and run the same command again"
            ) from error


def _entry(store: Store, name: str, info: dict[str, Any]) -> Entry:
    # Object stores have no folders, but some programs write an empty object for one.
    if info["type"] == "directory" or (name.endswith("/") and not info["size"]):
        return Entry(name.rstrip("/"), "folder")
    if "" in name.split("/"):
        raise InputError(f"{store.shown}: '{printable(name)}' has a folder without a name; rename it")
    return Entry(name, "file", partial(_read_image, store, name, info["size"]))


def _read_image(store: Store, name: str, size: int) -> bytes:
    if size > MAX_FILE_BYTES:
        raise ImageError("is larger than 1 GiB")
    data = store.read(f"{store.root}/{name}")
    if len(data) != size:
        raise store.changed(name)
    return data


def stamp_of(info: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the attributes of a file that change with its content."""
    return info and {key: info[key] for key in STAMPS if key in info and info["type"] != "directory"}
