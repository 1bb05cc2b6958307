"""Writing data/raw: every image is decoded, checked, hashed and written, in several threads and bounded memory."""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.base import files
from darkroom.base.errors import InputError, warn
from darkroom.base.params import DownloadParams
from darkroom.data.bands import Bands, read_image, stored_type
from darkroom.data.images import ImageArray, ImageError
from darkroom.data.labels import Labels, multi_hot, twins
from darkroom.data.listing import SPLITS, Item, Label, Listing, Sample
from darkroom.data.perceptual_hash import perceptual_hash
from darkroom.data.stored import encoded, resized
from darkroom.sources.corrections.applied import Applied
from darkroom.sources.corrections.table import NO_CORRECTIONS, Corrections
from darkroom.sources.pack_files import Columns, PackedImage, Shards, describe, write_index, write_npy
from darkroom.sources.progress import progress_bar

# Larger images stay encoded: a thousand photos of 224 px are 150 MB as pixels and 10 MB as JPEG.
MAX_RAW_SIDE = 64
# Threads take hundreds of small images at a time (singly, 60 000 JPEGs of 32 px take 12 s instead of 7), and single photos.
CHUNK_BYTES = 1 << 20
MAX_CHUNK = 256
MAX_WORKERS = 8
# Threads that read images over a network.
READERS = 16


def write_pack(
    listing: Listing, directory: Path, params: DownloadParams, corrections: Corrections = NO_CORRECTIONS
) -> dict[str, Any]:
    """Write dataset.json, index.parquet and the images of a source into an empty folder.

    With `download.format: raw`, the pixels of images of one size become `images.npy`, (N, H, W, C); those of images of different
    sizes are written one after the other to `images-000.bin` and so on. With `encoded`, image files are written there unchanged.
    An image that is resized, was listed decoded, or is the first frame of an animation is encoded again, as JPEG of quality 90 if
    it comes from a lossy format, else as PNG; bands as .npy. `auto` is `raw` if all images have one size of at most 64 px, else
    `encoded`. The same images give the same bytes, in whatever order the source lists them.

    Returns
    -------
    dataset
        The content of dataset.json.

    Raises
    ------
    InputError
        If more than `download.max_bad` images cannot be read, or no image of a class can be, or a correction is wrong.
    """
    applied = Applied(corrections, listing.items)
    items = sorted(applied.kept(listing.items), key=lambda item: (SPLITS.index(item.split), item.id))
    shards = Shards(directory)
    # Here, since filters of warnings are shared by all threads. Problems of an image are in its ImageError.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        columns, form = None, "raw" if params.format == "auto" else params.format
        if form == "raw":
            columns = _write_images(items, shards, params, raw=True, remote=listing.remote)
        if columns is None:
            columns, form = _write_images(items, shards, params, raw=False, remote=listing.remote), "encoded"
    assert columns is not None
    _check_skipped(columns, listing.where, params.max_bad)
    present = sorted({label for each in columns.labels for label in ((each,) if isinstance(each, int) else each)})
    with applied.explaining():
        classes = listing.name_classes(present)
    if len(classes) < 2:
        raise InputError(f"{listing.where}: holds {len(classes)} class(es); a classifier needs at least two")
    for one, other in twins(classes):
        warn(f"{listing.where}: the classes '{one}' and '{other}' differ in capitals alone; write them alike if they are one")
    labels = applied.relabel(_renumbered(columns.labels, present), [item.id for item in columns.items], classes)
    as_array = form == "raw" and len({shape[:2] for shape in columns.shapes}) == 1
    images = shards.paths
    if as_array:
        images = [directory / "images.npy"]
        write_npy(shards.paths, images[0], columns)
        shards.remove()
    write_index(directory / "index.parquet", columns, labels, with_offsets=not as_array)
    task = "multilabel" if listing.multilabel else "multiclass"
    dataset = describe(listing, columns, labels, classes, images) | {"task": task, "format": form, "resize": params.resize}
    if bands := Bands.of(params):
        dataset |= {"bands": bands.model_dump(), "dtype": columns.dtype}
    dataset |= applied.record
    files.write_sealed_json(directory / "dataset.json", dataset)
    return dataset


def summary(dataset: dict[str, Any], directory: Path) -> str:
    """Return one line: images, classes, splits, size."""
    splits = ", ".join(f"{count} {split}" for split, count in dataset["counts"].items())
    skipped = f"; {len(dataset['skipped'])} skipped, see dataset.json" if dataset["skipped"] else ""
    if dark := dataset["converted"].get("12_bits_in_16"):
        skipped += f"; {dark} of 16 bits have no value above 4095 and are nearly black (download.channels: 1 keeps values)"
    size = sum(file.stat().st_size for file in directory.iterdir()) / 1e6
    return f"{dataset['count']} images of {len(dataset['classes'])} classes ({splits}), {size:.1f} MB{skipped}"


def pixel_hash(image: ImageArray) -> bytes:
    """Return 16 bytes (BLAKE2b) that are equal for equal pixels; a grey image equals the same image stored as RGB.

    Parameters
    ----------
    image : (H, W) or (H, W, C)
        As `read_image` returns it.
    """
    if image.ndim == 3 and all((part == part[..., :1]).all() for part in (image[:1], image)):
        image = image[..., 0]
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(image.tobytes())
    return digest.digest()


def _write_images(items: Sequence[Item], shards: Shards, params: DownloadParams, *, raw: bool, remote: bool) -> Columns | None:
    """Write the images as pixels or encoded; None as soon as one shows that `download.format: auto` must not choose pixels.

    The set is then written again, encoded. That costs little, since all images before that one were small.
    """
    columns = Columns()
    choosing = params.format == "auto" and raw
    pack = partial(_pack, params=params, raw=raw, max_side=MAX_RAW_SIDE if choosing else None)
    with closing(shards), progress_bar("pack", len(items)) as advance, closing(_read_ahead(items, remote)) as coming:
        for item, packed in _in_order(pack, coming):
            advance(1)
            reason = str(packed) if isinstance(packed, ImageError) else columns.differs(packed)
            if isinstance(packed, ImageError) or reason:
                columns.skipped.append({"id": item.id, "reason": str(reason)})
                continue
            size = packed.shape[:2]
            if choosing and (max(size) > MAX_RAW_SIDE or (columns.shapes and size != columns.shapes[0][:2])):
                shards.remove()
                return None
            columns.add(item, packed, shards.add(item.id, packed.content))
    return columns


def _pack(item: Item, params: DownloadParams, raw: bool, max_side: int | None) -> PackedImage | ImageError:
    bands = Bands.of(params)
    try:
        data, label = item.read()
        decoded = read_image(data, params.max_pixels, params.resize, bands)
    except ImageError as error:
        return error
    image = resized(decoded, params.resize)
    if max_side is not None and max(image.shape[:2]) > max_side:
        content = b""  # only its size is used
    else:
        content = image.tobytes() if raw else encoded(data, decoded, image, bands)
    hashes = pixel_hash(image), perceptual_hash(image)
    return PackedImage(label, image.shape, *hashes, content, decoded.conversions, stored_type(image))


def _read_ahead(items: Sequence[Item], remote: bool) -> Generator[Item, None, None]:
    """Yield the items; if they come over a network, threads read them ahead of time."""
    if not remote:
        yield from items
        return
    remaining = iter(items)
    reading: deque[Item] = deque()
    pool = ThreadPoolExecutor(READERS)
    is_complete = False
    try:
        while True:
            for item in islice(remaining, 2 * READERS - len(reading)):
                reading.append(item._replace(read=partial(_take, [pool.submit(item.read)])))
            if not reading:
                break
            yield reading.popleft()
        is_complete = True
    finally:
        # The last items were yielded, but may still wait for a thread to read them.
        pool.shutdown(wait=not is_complete, cancel_futures=not is_complete)


def _take(coming: list[Future[Sample]]) -> Sample:
    # Removed from the list, since the item is kept to the end and its bytes must not be.
    return coming.pop().result()


def _in_order(pack: partial[PackedImage | ImageError], items: Iterable[Item]) -> Iterator[tuple[Item, PackedImage | ImageError]]:
    """Yield the items with what `pack` returns, in order; threads work on few items at a time, so that memory is bounded.

    Threads suffice, since Pillow decodes photos without Python's lock. Small images are as fast as in one thread; processes
    would save 2 s for 60 000 images on 2 cores.
    """
    workers = min(MAX_WORKERS, os.cpu_count() or 1)
    remaining, size = iter(items), 1
    waiting: deque[tuple[list[Item], Future[list[PackedImage | ImageError]]]] = deque()
    pool = ThreadPoolExecutor(workers)
    is_complete = False
    try:
        while True:
            # With small images, more threads would only wait for Python's lock.
            ahead = 2 if size == MAX_CHUNK else 2 * workers
            while len(waiting) < ahead and (chunk := list(islice(remaining, size))):
                waiting.append((chunk, pool.submit(lambda items: list(map(pack, items)), chunk)))
            if not waiting:
                break
            chunk, future = waiting.popleft()
            results = future.result()
            yield from zip(chunk, results, strict=True)
            mean = sum(len(each.content) for each in results if isinstance(each, PackedImage)) // len(results)
            size = max(1, min(MAX_CHUNK, CHUNK_BYTES // max(mean, 1)))
        is_complete = True
    finally:
        # A signal ends the wait for images that take long to decode.
        pool.shutdown(wait=is_complete, cancel_futures=True)


def _check_skipped(columns: Columns, where: str, max_bad: int) -> None:
    if len(columns.skipped) > max_bad:
        named = "; ".join(f"'{each['id']}' {each['reason']}" for each in columns.skipped[:3])
        more = f"; and {len(columns.skipped) - 3} more" if len(columns.skipped) > 3 else ""
        raise InputError(
            f"{where}: {len(columns.skipped)} unreadable image(s), but download.max_bad is {max_bad} ({named}{more}); "
            f"fix or remove them, or set download.max_bad to {len(columns.skipped)} to skip them"
        )
    if not columns.items:
        raise InputError(f"{where}: holds no image that can be read; add images")


def _renumbered(labels: Sequence[Label], present: list[int]) -> Labels:
    """Return labels as indices into the labels that occur."""
    if all(isinstance(each, int) for each in labels):
        return np.searchsorted(present, labels)
    place = {label: number for number, label in enumerate(present)}
    return multi_hot([[place[label] for label in each] for each in labels if not isinstance(each, int)], len(present))
