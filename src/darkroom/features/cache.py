"""Features kept on disk, image by image, for the next command. N images, D features.

A folder holds what one network computed, in parts. A part has the key of each image, which is a hash of its content, and its
features; its name has the hash of the part itself. Parts are never changed, so that several processes may read and write at once.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files, paths
from darkroom.base.errors import one_line, warn

Features = NDArray[np.float32]
Places = NDArray[np.int64]
Part = NDArray[Any]
Compute = Callable[[Places], Iterable[tuple[Places, Features]]]
"""Computes the features of images, given by their places in a list: batch by batch, places and features (n, D)."""

KEY_BYTES = 16
# What a process that is killed loses at most.
PART_BYTES, PART_SECONDS = 16_000_000, 20.0
# So many parts, that are smaller than that, become one.
MOST_SMALL = 16
# All features of all networks: those of 400 000 images with 1 280 features.
MOST_BYTES = 2_000_000_000
# Larger results are files without a name, mapped into memory.
IN_MEMORY_BYTES = 256_000_000
# What a killed process was writing may be removed by then.
ABANDONED_SECONDS = 3600.0


def content_key(data: bytes) -> bytes:
    """Return the key of an image by its bytes."""
    return hashlib.sha256(data).digest()[:KEY_BYTES]


def cached(root: Path, about: Sequence[Any], keys: Sequence[bytes], compute: Compute) -> tuple[Features, NDArray[np.bool_]]:
    """Return features, of which only those that are not kept are computed.

    What was computed is kept also if the computation is interrupted. Where nothing can be written, it goes on without.

    Parameters
    ----------
    root
        The folder of all features.
    about
        All that the features depend on beside the images, as JSON takes it.
    keys : sequence of N bytes
        16 bytes for each image, equal for equal images.
    compute
        Computes those of some of the images; it may leave out images that cannot be read.

    Returns
    -------
    features : (N, D) float32
        Mapped from a file if they are many.
    there : (N,) bool
        For which of the images they are known.
    """
    first: dict[bytes, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)  # equal images are computed once
    found, there = np.zeros((len(keys), 0), np.float32), np.zeros(len(keys), np.bool_)

    def put(places: Places, features: Features) -> None:
        nonlocal found
        if not found.size:
            found = room(root, len(keys), features.shape[1])
        found[places], there[places] = features, True

    store = _Store(root, hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32])
    for part, rows in store.read(first):
        put(np.array([first[part["key"][row].tobytes()] for row in rows]), part["features"][rows])
    missing = np.array([place for place in first.values() if not there[place]], np.int64)
    if len(missing):
        try:
            for places, features in compute(missing):
                put(places, features)
                store.add([keys[place] for place in places], features)
        finally:
            store.flush()
        store.tidy()
    for place, key in enumerate(keys):
        if first[key] < place and there[first[key]]:
            found[place], there[place] = found[first[key]], True
    return found, there


def room(folder: Path, count: int, size: int) -> Features:
    """Return zeros (count, size); many are mapped from a file without a name in the folder, so that they fill no memory."""
    num_bytes = 4 * count * size
    if num_bytes > IN_MEMORY_BYTES:
        with suppress(OSError):
            files.make_folder(folder)  # not the usual place of temporary files, which is often memory
            with tempfile.TemporaryFile(dir=folder) as file:
                os.posix_fallocate(file.fileno(), 0, num_bytes)  # on a full disk, writing to the array would kill the process
                return np.memmap(file, np.float32, "r+", shape=(count, size))
    return np.zeros((count, size), np.float32)


class _Store:
    """The parts of one folder."""

    def __init__(self, root: Path, name: str):
        self.root, self.folder = root, root / name
        self._waiting: list[Part] = []
        self._since = time.monotonic()
        self._is_writable = True

    def read(self, wanted: Collection[bytes]) -> Iterator[tuple[Part, list[int]]]:
        """Yield the parts, mapped from their files, with features of wanted images, and their rows."""
        damaged = []
        for path in self._paths():
            try:
                part = _load(path)
            except OSError:  # another process has put it into a larger one: at worst its features are computed again
                continue
            except (ValueError, EOFError):
                damaged.append(path)
                continue
            rows = [row for row, key in enumerate(part["key"].tolist()) if key in wanted]
            if rows:
                with suppress(OSError):
                    path.touch()  # the parts that were not used for longest are removed first
                yield part, rows
        if damaged:
            more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
            warn(f"{paths.shown(damaged[0])}: is damaged{more}; its features are computed again")
        for path in damaged:
            with suppress(OSError):
                path.unlink()

    def add(self, keys: Sequence[bytes], features: Features) -> None:
        """Keep features, on disk from time to time."""
        part = np.zeros(len(keys), [("key", f"V{KEY_BYTES}"), ("features", "<f4", (features.shape[1],))])
        part["key"], part["features"] = np.array(keys, f"V{KEY_BYTES}"), features
        self._waiting.append(part)
        if sum(each.nbytes for each in self._waiting) >= PART_BYTES or time.monotonic() - self._since > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one part."""
        waiting, self._waiting, self._since = self._waiting, [], time.monotonic()
        if waiting and self._is_writable:
            self._write(np.concatenate(waiting))

    def tidy(self) -> None:
        """Make one part of many small ones, and remove what was not used for longest if all is too large."""
        small = [path for _, size, path in _kept(self.folder, "*.npy") if size < PART_BYTES]
        if len(small) > MOST_SMALL:
            with suppress(OSError, ValueError, EOFError):  # another process does the same, or one of them is damaged
                joined = np.concatenate([_load(path) for path in small])
                rows = list({key: row for row, key in enumerate(joined["key"].tolist())}.values())
                if self._write(joined[rows]):
                    for path in small:
                        path.unlink(missing_ok=True)
        forget_oldest(self.root)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.npy"))

    def _write(self, part: Part) -> bool:
        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, part, allow_pickle=False)

        try:
            files.write_hash_named(self.folder, "part", ".npy", write)
        except OSError as error:
            self._is_writable = False
            warn(f"{paths.shown(self.folder)}: features cannot be kept for the next time ({one_line(error)})")
        return self._is_writable


def _load(path: Path) -> Part:
    """Return a part, mapped from its file; ValueError: it is damaged; OSError: it is not there any more."""
    # Opened once: another process may remove it, and write it again, between one look and the next.
    if files.sha256(path) != files.named_hash(path):
        raise ValueError("it does not have the hash in its name")
    part: Part = np.load(path, mmap_mode="r", allow_pickle=False)
    if part.dtype.names != ("key", "features"):
        raise ValueError("it holds something else")
    return part


def forget_oldest(folder: Path) -> None:
    """Remove the parts that were not used for longest, until all are small enough, and what killed processes left."""
    for rest in folder.rglob(f"{files.WRITING}*"):
        with suppress(OSError):
            if time.time() - rest.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(rest) if rest.is_dir() else rest.unlink()
    found = sorted(_kept(folder))
    total, removed = sum(size for _, size, _ in found), 0
    for _, size, path in found:
        if total - removed <= MOST_BYTES:
            break
        with suppress(OSError):
            path.unlink()
            removed += size
            path.parent.rmdir()  # unless others are in it
    if removed:
        size_text = f"{removed / 1e6:.0f} MB"
        print(f"features: removed {size_text} that were not used for longest from {paths.shown(folder)}", flush=True)


def _kept(folder: Path, pattern: str = "*.np[yz]") -> Iterator[tuple[float, int, Path]]:
    """Yield the time of last use, size and path of each part, also of those of earlier versions."""
    for path in folder.rglob(pattern):
        with suppress(OSError):
            about = path.stat()
            yield about.st_mtime, about.st_size, path
