"""The files of data/raw as they are written: shards or one array of images, and the columns of index.parquet."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from darkroom.base import files
from darkroom.data.arrow import leave_pandas_out
from darkroom.data.bands import STORED, DType
from darkroom.data.labels import Labels, count_labels, indices, is_multilabel
from darkroom.data.listing import SPLITS, Item, Label, Listing
from darkroom.data.pack import SHARD_NAME
from darkroom.data.perceptual_hash import HASH_BYTES

# Shards have about this size: small enough that a change costs little, few enough for DVC.
SHARD_BYTES = 64 << 20
COPY_BYTES = 1 << 20


class PackedImage(NamedTuple):
    """An image as it is written, with what the index records of it."""

    label: Label
    shape: tuple[int, ...]
    pixel_hash: bytes
    near_hash: bytes | None
    content: bytes
    conversions: tuple[str, ...]
    dtype: DType = "uint8"


@dataclass
class Columns:
    """The columns of the index so far, and the images that were skipped."""

    dtype: DType = "uint8"
    items: list[Item] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    pixel_hashes: list[bytes] = field(default_factory=list)
    near_hashes: list[bytes | None] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    converted: Counter[str] = field(default_factory=Counter)

    def add(self, item: Item, packed: PackedImage, place: tuple[int, int]) -> None:
        """Append an image, which is at `place` (number of the shard, offset)."""
        self.dtype = packed.dtype
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
        """Return 3 if an image has colour, else 1; or the number of bands."""
        return max(shape[2] if len(shape) == 3 else 1 for shape in self.shapes)

    def differs(self, packed: PackedImage) -> str | None:
        """Return how an image differs from those before it in what all must share, for `ImageError`; else None."""
        if self.items and packed.dtype != self.dtype:
            return f"has {packed.dtype} values, but '{self.items[0].id}' has {self.dtype}; save them alike"
        if self.items and len(packed.shape) == 3 == len(self.shapes[0]) and packed.shape[2] != self.shapes[0][2]:
            return f"has {packed.shape[2]} bands, but '{self.items[0].id}' has {self.shapes[0][2]}; set download.channels"
        return None


class Shards:
    """Files that hold the images one after the other.

    Whether a file ends after an image depends on the image alone. So an image that is added or removed changes one file; the
    later files keep their content under another number, and DVC stores them once.
    """

    def __init__(self, directory: Path):
        self.directory = directory
        self.paths: list[Path] = []
        self._file: IO[bytes] | None = None

    def add(self, name: str, content: bytes) -> tuple[int, int]:
        """Write an image, and return the number of its file and the offset in it."""
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
        """Close the file that is being written."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def remove(self) -> None:
        """Remove all files, to start again."""
        self.close()
        for path in self.paths:
            path.unlink()
        self.paths = []


def write_npy(shards: Sequence[Path], path: Path, columns: Columns) -> None:
    """Copy the pixels of shards into one .npy file; grey images become RGB if others have colour."""
    shape = (len(columns.items), *columns.shapes[0][:2], columns.channels)
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        sources = [stack.enter_context(shard.open("rb")) for shard in shards]
        np.lib.format.write_array_header_1_0(file, {"descr": STORED[columns.dtype], "fortran_order": False, "shape": shape})
        if len({len(image) for image in columns.shapes}) == 1:
            for source in sources:
                shutil.copyfileobj(source, file, COPY_BYTES)
            return
        for (shard, _), length, image in zip(columns.places, columns.lengths, columns.shapes, strict=True):
            pixels = np.frombuffer(sources[shard].read(length), np.uint8).reshape(*image[:2], -1)
            file.write(np.broadcast_to(pixels, shape[1:]).tobytes())


def write_index(path: Path, columns: Columns, labels: Labels, *, with_offsets: bool) -> None:
    """Write index.parquet; `with_offsets` adds where each image is in the shards."""
    # Imported here: it takes 0.3 s, which an error in params.yaml need not wait for.
    leave_pandas_out()
    import pyarrow as pa
    import pyarrow.parquet as pq

    sizes = np.array([shape[:2] for shape in columns.shapes], np.int32)
    arrays = {
        "id": pa.array([item.id for item in columns.items], pa.string()),
        "label": pa.array(indices(labels), pa.list_(pa.int32())) if is_multilabel(labels) else pa.array(labels.astype(np.int32)),
        "split": pa.array([item.split for item in columns.items], pa.string()),
        "group": pa.array([item.group for item in columns.items], pa.string()),
        "extra": pa.array([item.extra and json.dumps(item.extra, ensure_ascii=False) for item in columns.items], pa.string()),
        "pixel_hash": pa.array(columns.pixel_hashes, pa.binary(16)),
        "near_hash": pa.array(columns.near_hashes, pa.binary(HASH_BYTES)),
        "height": pa.array(sizes[:, 0]),
        "width": pa.array(sizes[:, 1]),
    }
    if with_offsets:
        shards, offsets = np.array(columns.places, np.int64).T
        arrays |= {"shard": pa.array(shards.astype(np.int32)), "offset": pa.array(offsets)}
        arrays["length"] = pa.array(columns.lengths, pa.int64())
    pq.write_table(pa.table(arrays), path, compression="zstd")


def describe(listing: Listing, columns: Columns, labels: Labels, classes: list[str], images: Sequence[Path]) -> dict[str, Any]:
    """Return the content of dataset.json, without times and without anything of this machine."""
    splits = np.array([item.split for item in columns.items])
    per_class = {
        split: dict(zip(classes, count_labels(labels[splits == split], len(classes)).tolist(), strict=True))
        for split in SPLITS
        if (splits == split).any()
    }
    sizes = {shape[:2] for shape in columns.shapes}
    height, width = sizes.pop() if len(sizes) == 1 else (None, None)
    index = images[0].with_name("index.parquet")
    return {
        **listing.info,
        "count": len(columns.items),
        "channels": columns.channels,
        "height": height,
        "width": width,
        "classes": classes,
        "counts": {split: int((splits == split).sum()) for split in per_class},
        "counts_per_class": per_class,
        "converted": dict(sorted(columns.converted.items())),
        "skipped": columns.skipped,
        "ignored": listing.ignored,
        "files": {path.name: files.sha256(path) for path in (*images, index)},
    }
