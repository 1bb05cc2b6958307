"""Images of a list, opened one after the other: from files, archives, addresses and cameras. No torch."""

import os
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams
from darkroom.batch.camera import read_frame
from darkroom.batch.entries import Entry
from darkroom.batch.listing import KEY, Listing, is_image
from darkroom.data.images import ImageError
from darkroom.data.listing import printable
from darkroom.sources.archive import Limits, iterate_files
from darkroom.sources.entries import read_file
from darkroom.sources.remote import Store, shown_address

# An image at an address, or in an archive, is held in memory until it is decoded.
MOST_BYTES = 1 << 28


class Photo(NamedTuple):
    """An image that is to be predicted."""

    name: str
    """Its path or address, printable."""
    read: Callable[[], bytes]
    """Returns its bytes, in any thread; raises `ImageError`."""
    label: str | None = None
    num_bytes: int = 0
    """What it holds in memory."""


def iterate_photos(listing: Listing, params: DownloadParams, *, arrays: bool, start: int = 0) -> Iterator[Photo]:
    """Yield the images of a list from a number on.

    Parameters
    ----------
    listing
        The list.
    params
        Section `download` of params.yaml: limits of archives, hosts and timeout of HTTP.
    arrays
        Whether arrays in folders are images.
    start
        Number of images that are left out.

    Raises
    ------
    InputError
        If an archive is damaged, exceeds the limits, or has members with odd names.
    """
    number = 0
    http, objects = _Http(params), _Objects()
    for entry in listing.entries(arrays=arrays):
        if entry.kind == "archive":
            for photo in _members(entry, params, start - number):
                number += 1
                if photo is not None:
                    yield photo
            continue
        number += 1
        if number > start:
            yield _photo(entry, http, objects)


def _photo(entry: Entry, http: "_Http", objects: "_Objects") -> Photo:
    if entry.kind == "file":
        return Photo(printable(paths.shown(Path(entry.name))), partial(_read_file, entry.name), entry.label)
    if entry.kind == "camera":
        return Photo(f"camera:{entry.name}", partial(read_frame, int(entry.name)))
    read = partial(http.read if entry.kind == "http" else objects.read, entry.name)
    return Photo(printable(shown_address(entry.name)), read, entry.label)


def _members(entry: Entry, params: DownloadParams, skipped: int) -> Iterator[Photo | None]:
    """Yield the images of an archive, None for each of the first ones, which are left out."""
    limits = Limits(params.max_files, params.max_gigabytes * 1e9, params.max_ratio)
    archive = Path(entry.name)
    shown = printable(paths.shown(archive))
    count = 0
    for name, blocks in iterate_files(archive, limits, shown):
        if not is_image(name):
            continue
        count += 1
        if count <= skipped:
            yield None
            continue
        data = b""
        for block in blocks:
            data += block
            if len(data) > MOST_BYTES:
                break
        read = partial(bytes, data) if len(data) <= MOST_BYTES else _too_large
        yield Photo(f"{shown}/{printable(name)}", read, num_bytes=len(data))


def _read_file(path: str) -> bytes:
    if not os.path.lexists(path):
        raise ImageError("does not exist")
    return read_file(path)


def _too_large() -> bytes:
    raise ImageError(f"is larger than {MOST_BYTES >> 20} MiB")


class _Http:
    """Images at http:// and https:// addresses; each thread keeps its connections."""

    def __init__(self, params: DownloadParams):
        self.params, self._of_thread = params, threading.local()

    def read(self, address: str) -> bytes:
        from darkroom.sources.http import Session, read_address

        if not hasattr(self._of_thread, "session"):
            self._of_thread.session = Session()
        shown = shown_address(address.partition("?")[0])
        try:
            if not urlsplit(address).hostname:
                raise ImageError("is not a valid address")
        except ValueError:
            raise ImageError("is not a valid address") from None
        params = self.params.model_copy(update={"archive": address})
        return read_address(self._of_thread.session, params, shown, MOST_BYTES)


class _Objects:
    """Images in object stores and on other machines; each bucket or host is opened once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = lru_cache(16)(partial(Store, key=KEY))

    def read(self, address: str) -> bytes:
        scheme, _, rest = address.partition("://")
        bucket, _, name = rest.partition("/")
        with self._lock:
            store = self._open(f"{scheme}://{bucket}")
        try:
            path = f"{store.root}/{name}"
            if store.call(partial(store.fs.info, path))["size"] > MOST_BYTES:
                return _too_large()
            return bytes(store.call(partial(store.fs.cat_file, path), f"/{name}"))
        except FileNotFoundError:
            raise ImageError("does not exist") from None
        except InputError as error:
            raise ImageError(str(error)) from None
