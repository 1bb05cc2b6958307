"""Writing data/raw: every image is decoded, checked, hashed and appended to one file, with bounded memory."""

import hashlib
import json
import os
import shutil
import warnings
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from darkroom import files
from darkroom.data.images import ImageArray, ImageError, decode, encode
from darkroom.data.labels import Labels, count_labels, indices, is_multilabel, multi_hot
from darkroom.data.listing import SPLITS, Item, Label, Listing, Sample
from darkroom.data.pack import SHARD_NAME
from darkroom.data.perceptual_hash import HASH_BYTES, perceptual_hash
from darkroom.data.resizing import resize
from darkroom.errors import InputError
from darkroom.params import DownloadParams
from darkroom.sources.progress import progress_bar

# Larger images stay encoded: a thousand photos of 224 px are 150 MB of pixels, but 10 MB of JPEG.
MAX_RAW_SIDE = 64
# Small images are handed to threads by the hundred (one by one, 60 000 JPEGs of 32 px take 12 s in place of 7), photos singly.
CHUNK_BYTES = 1 << 20
MAX_CHUNK = 256
MAX_WORKERS = 8
# Files of images are about this large: small enough that a change costs little, few enough for DVC.
SHARD_BYTES = 64 << 20
# Threads that wait for a network.
READERS = 16


class _Packed(NamedTuple):
    label: Label
    shape: tuple[int, ...]
    pixel_hash: bytes
    near_hash: bytes | None
    content: bytes
    conversions: tuple[str, ...]


@dataclass
class _Rows:
    """The columns of the index, as they grow."""

    items: list[Item] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    pixel_hashes: list[bytes] = field(default_factory=list)
    near_hashes: list[bytes | None] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    converted: Counter[str] = field(default_factory=Counter)

    def add(self, item: Item, packed: _Packed, place: tuple[int, int]) -> None:
        self.places.append(place)
        self.items.append(item)
        self.labels.append(packed.label)
        self.shapes.append(packed.shape)
        self.pixel_hashes.append(packed.pixel_hash)
        self.near_hashes.append(packed.near_hash)
        self.lengths.append(len(packed.content))
        self.converted.update(packed.conversions)

    @property
    def channels(self) -> int:
        return 3 if any(len(shape) == 3 for shape in self.shapes) else 1


def write_pack(listing: Listing, directory: Path, params: DownloadParams) -> dict[str, Any]:
    """Write dataset.json, index.parquet and the images of a source into an empty folder.

    As pixels (`download.format: raw`) images of one size become `images.npy`, (N, H, W, C) uint8; of different sizes their
    pixels stand in `images-000.bin` and so on, one after the other. Encoded images stand there as they were, to be read with
    `decode`; what is resized is encoded anew, as JPEG of quality 90 if it came from a lossy format, else as PNG, and so are
    animations, of which the first frame is kept, and images that came decoded. `auto` takes pixels if all are of one size, up
    to 64 px. The same images give the same bytes, whatever the order in which the source lists them.

    Returns
    -------
    dataset
        The content of dataset.json.

    Raises
    ------
    InputError
        If more than `download.max_bad` images are unreadable, or a class has lost all of its own.
    """
    items = sorted(listing.items, key=lambda item: (SPLITS.index(item.split), item.id))
    shards = _Shards(directory)
    # Around the threads, since the filters are the whole process's: what Pillow has to say of an image is in its ImageError.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, form = None, "raw" if params.format == "auto" else params.format
        if form == "raw":
            rows = _write_images(items, shards, params, raw=True, remote=listing.remote)
        if rows is None:
            rows, form = _write_images(items, shards, params, raw=False, remote=listing.remote), "encoded"
    assert rows is not None
    _check_skipped(rows, listing.where, params.max_bad)
    present = sorted({label for each in rows.labels for label in ((each,) if isinstance(each, int) else each)})
    classes = listing.name_classes(present)
    if len(classes) < 2:
        raise InputError(f"{listing.where}: holds {len(classes)} class(es); a classifier needs two at least")
    labels = _renumbered(rows.labels, present)
    as_array = form == "raw" and len({shape[:2] for shape in rows.shapes}) == 1
    images = shards.paths
    if as_array:
        images = [directory / "images.npy"]
        _write_npy(shards.paths, images[0], rows)
        shards.remove()
    _write_index(directory / "index.parquet", rows, labels, with_offsets=not as_array)
    task = "multilabel" if listing.multilabel else "multiclass"
    dataset = _describe(listing, rows, labels, classes, images) | {"task": task, "format": form, "resize": params.resize}
    files.write_sealed_json(directory / "dataset.json", dataset)
    return dataset


def summary(dataset: dict[str, Any], directory: Path) -> str:
    """Return one line on what was written."""
    splits = ", ".join(f"{count} {split}" for split, count in dataset["counts"].items())
    skipped = f"; {len(dataset['skipped'])} skipped, see dataset.json" if dataset["skipped"] else ""
    size = sum(file.stat().st_size for file in directory.iterdir()) / 1e6
    return f"{dataset['count']} images of {len(dataset['classes'])} classes ({splits}), {size:.1f} MB{skipped}"


def pixel_hash(image: ImageArray) -> bytes:
    """Return 16 bytes (BLAKE2b) that are equal for images of the same size and colours, be they stored as grey or as RGB.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) uint8
        As `decode` gives it.
    """
    if image.ndim == 3 and all((part == part[..., :1]).all() for part in (image[:1], image)):
        image = image[..., 0]
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.digest()


class _Shards:
    """Files with contents one after the other.

    Where one ends depends on the image alone: one that is added or removed changes one file, and those behind it are the same
    again, under another number, which DVC stores once.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.paths: list[Path] = []
        self._file: IO[bytes] | None = None

    def add(self, name: str, content: bytes) -> tuple[int, int]:
        """Write, and return the number of the file and the place in it."""
        if self._file is None:
            self.paths.append(self.directory / SHARD_NAME.format(len(self.paths)))
            self._file = self.paths[-1].open("wb")
        place = len(self.paths) - 1, self._file.tell()
        self._file.write(content)
        drawn = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
        if drawn < 2**64 * len(content) / SHARD_BYTES:
            self.close()
        return place

    def close(self) -> None:
        """End the file that is written."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def remove(self) -> None:
        """Remove all files, to begin anew."""
        self.close()
        for path in self.paths:
            path.unlink()
        self.paths = []


def _write_images(items: Sequence[Item], shards: _Shards, params: DownloadParams, *, raw: bool, remote: bool) -> _Rows | None:
    """Write pixels, or encoded images, one after the other; None at the first that forbids to choose pixels by itself.

    So a set is begun twice if it is not raw. That costs little: what came before the misfit was small.
    """
    rows = _Rows()
    choosing = params.format == "auto" and raw
    pack = partial(_pack, params=params, raw=raw, max_side=MAX_RAW_SIDE if choosing else None)
    with closing(shards), progress_bar("pack", len(items)) as advance, _read_ahead(items, remote) as coming:
        for item, packed in _in_order(pack, coming):
            advance(1)
            if isinstance(packed, ImageError):
                rows.skipped.append({"id": item.id, "reason": str(packed)})
                continue
            size = packed.shape[:2]
            if choosing and (max(size) > MAX_RAW_SIDE or (rows.shapes and size != rows.shapes[0][:2])):
                shards.remove()
                return None
            rows.add(item, packed, shards.add(item.id, packed.content))
    return rows


def _pack(item: Item, params: DownloadParams, raw: bool, max_side: int | None) -> _Packed | ImageError:
    try:
        data, label = item.read()
        decoded = decode(data, params.max_pixels, params.resize) if isinstance(data, bytes) else data
    except ImageError as error:
        return error
    image = decoded.image if params.resize is None else resize(decoded.image, params.resize)
    if max_side is not None and max(image.shape[:2]) > max_side:
        content = b""  # nothing of it is wanted but its size
    elif raw:
        content = image.tobytes()
    elif isinstance(data, bytes) and image is decoded.image and "animation" not in decoded.conversions:
        # As it was, since `decode` reads it again: upright photos of a phone would be ten times as large as PNG.
        content = data
    else:
        content = encode(image, lossy=decoded.lossy)
    return _Packed(label, image.shape, pixel_hash(image), perceptual_hash(image), content, decoded.conversions)


@contextmanager
def _read_ahead(items: Sequence[Item], remote: bool) -> Iterator[Iterable[Item]]:
    """Yield the items; in threads of their own those that a network has to bring are read before it is their turn."""
    if not remote:
        yield items
        return
    pool = ThreadPoolExecutor(READERS)
    try:
        yield _reading(items, pool)
    finally:
        pool.shutdown(cancel_futures=True)


def _reading(items: Iterable[Item], pool: ThreadPoolExecutor) -> Iterator[Item]:
    remaining = iter(items)
    reading: deque[Item] = deque()
    while True:
        for item in islice(remaining, 2 * READERS - len(reading)):
            reading.append(item._replace(read=partial(_take, [pool.submit(item.read)])))
        if not reading:
            return
        yield reading.popleft()


def _take(coming: list[Future[Sample]]) -> Sample:
    # Out of the list, since the item is kept to the end, but its bytes must not be.
    return coming.pop().result()


def _in_order(pack: partial[_Packed | ImageError], items: Iterable[Item]) -> Iterator[tuple[Item, _Packed | ImageError]]:
    """Yield the items packed by threads, in their order; few are under way at a time, so that memory stays bounded.

    Threads, since Pillow decodes photos outside of Python's lock; small images go as fast as in one thread, and forked
    processes would save 2 s of 60 000 on 2 cores.
    """
    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    remaining, size = iter(items), 1
    waiting: deque[tuple[list[Item], Future[list[_Packed | ImageError]]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        while True:
            # More threads on small images would only wait for Python's lock.
            ahead = 2 if size == MAX_CHUNK else 2 * workers
            while len(waiting) < ahead and (chunk := list(islice(remaining, size))):
                waiting.append((chunk, pool.submit(lambda items: list(map(pack, items)), chunk)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            results = future.result()
            yield from zip(chunk, results, strict=True)
            mean = sum(len(each.content) for each in results if isinstance(each, _Packed)) // len(results)
            size = max(1, min(MAX_CHUNK, CHUNK_BYTES // max(mean, 1)))
    finally:
        pool.shutdown(cancel_futures=True)


def _check_skipped(rows: _Rows, where: str, max_bad: int) -> None:
    if len(rows.skipped) > max_bad:
        named = "; ".join(f"'{each['id']}' {each['reason']}" for each in rows.skipped[:3])
        more = f"; and {len(rows.skipped) - 3} more" if len(rows.skipped) > 3 else ""
        raise InputError(
            f"{where}: {len(rows.skipped)} unreadable image(s), but download.max_bad is {max_bad} ({named}{more}); "
            f"mend or remove them, or set download.max_bad to {len(rows.skipped)} to skip them"
        )
    if not rows.items:
        raise InputError(f"{where}: holds no image that can be read; add some")


def _write_npy(shards: Sequence[Path], path: Path, rows: _Rows) -> None:
    """Copy pixels into an array, grey ones three times if others have colour."""
    shape = (len(rows.items), *rows.shapes[0][:2], rows.channels)
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        sources = [stack.enter_context(shard.open("rb")) for shard in shards]
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        if len({len(image) for image in rows.shapes}) == 1:
            for source in sources:
                shutil.copyfileobj(source, file, CHUNK_BYTES)
            return
        for (shard, _), length, image in zip(rows.places, rows.lengths, rows.shapes, strict=True):
            pixels = np.frombuffer(sources[shard].read(length), np.uint8).reshape(*image[:2], -1)
            file.write(np.broadcast_to(pixels, shape[1:]).tobytes())


def _renumbered(labels: Sequence[Label], present: list[int]) -> Labels:
    """Return labels as places in the list of those that are present."""
    if all(isinstance(each, int) for each in labels):
        return np.searchsorted(present, labels)
    place = {label: number for number, label in enumerate(present)}
    return multi_hot([[place[label] for label in each] for each in labels if not isinstance(each, int)], len(present))


def _write_index(path: Path, rows: _Rows, labels: Labels, *, with_offsets: bool) -> None:
    # Imported here: 0.3 s that a mistake in params.yaml need not wait for.
    import pyarrow as pa
    import pyarrow.parquet as pq

    sizes = np.array([shape[:2] for shape in rows.shapes], np.int32)
    columns = {
        "id": pa.array([item.id for item in rows.items], pa.string()),
        "label": pa.array(indices(labels), pa.list_(pa.int32())) if is_multilabel(labels) else pa.array(labels.astype(np.int32)),
        "split": pa.array([item.split for item in rows.items], pa.string()),
        "group": pa.array([item.group for item in rows.items], pa.string()),
        "extra": pa.array([item.extra and json.dumps(item.extra, ensure_ascii=False) for item in rows.items], pa.string()),
        "pixel_hash": pa.array(rows.pixel_hashes, pa.binary(16)),
        "near_hash": pa.array(rows.near_hashes, pa.binary(HASH_BYTES)),
        "height": pa.array(sizes[:, 0]),
        "width": pa.array(sizes[:, 1]),
    }
    if with_offsets:
        shards, offsets = np.array(rows.places, np.int64).T
        columns |= {"shard": pa.array(shards.astype(np.int32)), "offset": pa.array(offsets)}
        columns["length"] = pa.array(rows.lengths, pa.int64())
    pq.write_table(pa.table(columns), path, compression="zstd")


def _describe(listing: Listing, rows: _Rows, labels: Labels, classes: list[str], images: Sequence[Path]) -> dict[str, Any]:
    """Return the content of dataset.json, which has no times and nothing of this machine in it."""
    splits = np.array([item.split for item in rows.items])
    per_class = {
        split: dict(zip(classes, count_labels(labels[splits == split], len(classes)).tolist(), strict=True))
        for split in SPLITS
        if (splits == split).any()
    }
    sizes = {shape[:2] for shape in rows.shapes}
    height, width = sizes.pop() if len(sizes) == 1 else (None, None)
    index = images[0].with_name("index.parquet")
    return {
        **listing.info,
        "count": len(rows.items),
        "channels": rows.channels,
        "height": height,
        "width": width,
        "classes": classes,
        "counts": {split: int((splits == split).sum()) for split in per_class},
        "counts_per_class": per_class,
        "converted": dict(sorted(rows.converted.items())),
        "skipped": rows.skipped,
        "ignored": listing.ignored,
        "files": {path.name: files.sha256(path) for path in (*images, index)},
    }
