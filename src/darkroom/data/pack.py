"""Reading data/raw: the images, labels and hashes that the download stage packed."""

import json
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError
from darkroom.data.arrow import leave_pandas_out
from darkroom.data.bands import STORED, Bands, DType, network_values, read_image, shown_image
from darkroom.data.decoding.jpeg import read_jpeg_part, reduction
from darkroom.data.decoding.tiles import Box
from darkroom.data.images import ImageArray, ImageError
from darkroom.data.labels import Labels, labels_from_arrow
from darkroom.data.listing import SPLITS
from darkroom.data.pack_arrays import Images, Shards, map_images, numbers, verify_files
from darkroom.data.perceptual_hash import HASH_BYTES
from darkroom.data.stored import Form

SHARD_NAME = "images-{:03d}.bin"
TASKS = ("multiclass", "multilabel")
COLUMNS = ("id", "label", "split", "group", "extra", "pixel_hash", "near_hash", "height", "width")

Rows = NDArray[np.int64]
"""Row numbers of a pack."""


class Pack:
    """The images of data/raw, by row. The files are memory-mapped: opening them is cheap, and processes share them.

    A pack may be sent to other processes, which open it again.

    Attributes
    ----------
    directory : Path
        Its folder.
    dataset : dict
        The content of dataset.json.
    classes : list of str
        Class names; a label is an index into it.
    channels : int
        1 if every image is grey, else 3; or the number of bands.
    bands : Bands or None
        What `download.channels` and `download.bands` were; None: the images are grey or RGB.
    dtype : str
        uint8; of bands also uint16 or float32.
    form : str
        `raw` or `encoded`.
    is_encoded : bool
        Whether the images are stored as encoded files, not as pixels.
    size : (H, W) or None
        The common size of the images if they are stored as pixels of one size; only then `batch` can be used.
    resize : int or None
        The shorter side to which larger images were resized.
    sizes : (N, 2) int32
        Height and width of each image.
    labels : (N,) int64, or (N, K) uint8
        Index of the class of each image; in a multilabel set 1 for every class that it has.
    splits : (N,) str
        `train`, `val` or `test` in the source; all `train` if it has no splits.
    """

    def __init__(self, directory: Path, dataset: dict[str, Any], index: Any, images: Images):
        self.directory, self.dataset = directory, dataset
        self.classes: list[str] = dataset["classes"]
        self.channels: int = dataset["channels"]
        self.resize: int | None = dataset["resize"]
        self.bands = Bands(**dataset["bands"]) if "bands" in dataset else None
        # Files that are stored have the chosen bands alone.
        self._file_bands = Bands(channels=self.channels) if self.bands else None
        self.dtype: DType = dataset.get("dtype", "uint8")
        self.form: Form = dataset["format"]
        self.is_encoded = self.form == "encoded"
        self.size: tuple[int, int] | None = None if isinstance(images, Shards) else (images.shape[1], images.shape[2])
        self.sizes = np.stack([numbers(index["height"]), numbers(index["width"])], axis=1)
        self.labels: Labels = labels_from_arrow(index["label"], len(self.classes), multilabel=dataset["task"] == "multilabel")
        self.splits: NDArray[np.str_] = np.array(index["split"].to_pylist(), dtype=str)
        self._index, self._images = index, images
        self._withheld: NDArray[np.bool_] | None = None

    @classmethod
    def open(cls, directory: Path, *, verify: bool = True) -> Self:
        """Open what `write_pack` wrote, after checking its files against the SHA-256 in dataset.json (if `verify`).

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        name = paths.shown(directory)
        if not (directory / "dataset.json").is_file():
            raise InputError(f"{name}: holds no images; run 'dvc repro download', or 'dvc checkout' if this commit has them")
        # Imported here, since it takes 0.2 s and the check above fails often.
        leave_pandas_out()
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            dataset = files.read_sealed_json(directory / "dataset.json")
            if verify:
                verify_files(directory, dataset["files"])
            # Not read_table, which imports pandas.
            with pq.ParquetFile(directory / "index.parquet") as file:
                index = file.read()
            pack = cls(directory, dataset, index, map_images(directory, dataset, index, SHARD_NAME))
            pack._check(dataset["count"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, pa.ArrowException) as error:
            raise InputError(
                f"{name}: is damaged ({type(error).__name__}: {error}); run 'dvc checkout', or 'dvc repro --force download'"
            ) from error
        return pack

    def _check(self, count: int) -> None:
        if self.dataset["task"] not in TASKS:
            raise ValueError(f"dataset.json has the unknown task {self.dataset['task']!r}")
        if missing := set(COLUMNS) - set(self._index.schema.names):
            raise ValueError(f"the index has no {', '.join(sorted(missing))}")
        num_images = count
        if isinstance(self._images, Shards):
            bytes_of = self.sizes.prod(axis=1, dtype=np.int64) * np.dtype(STORED[self.dtype]).itemsize
            channels = (self.channels,) if self.bands else (1, 3)
            complete = self._images.are_complete([] if self.is_encoded else [each * bytes_of for each in channels])
        else:
            num_images = len(self._images)
            complete = self._images.shape[3] == self.channels and self._images.dtype == STORED[self.dtype]
        if not (len(self.labels) == num_images == count and complete):
            raise ValueError("dataset.json, the index and the images do not match")
        listed = isinstance(self.classes, list) and all(isinstance(name, str) for name in self.classes)
        if self.channels not in (range(1, 17) if self.bands else (1, 3)) or not listed:
            raise ValueError(f"the classes are not texts, or {self.channels} is a wrong number of channels")
        if not np.isin(self.splits, SPLITS).all():
            raise ValueError("an image is in an unknown split")

    @cached_property
    def ids(self) -> list[str]:
        """The N ids of the images in their source, as printable text."""
        names: list[str] = self._index["id"].to_pylist()
        return names

    @cached_property
    def pixel_hashes(self) -> list[bytes]:
        """N hashes of 16 bytes, equal for equal pixels."""
        hashes: list[bytes] = self._index["pixel_hash"].to_pylist()
        return hashes

    @cached_property
    def near_hashes(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Rows (M,) of the images that have a perceptual hash, and the hashes (M, 32)."""
        column = self._index["near_hash"].combine_chunks()
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return rows, np.frombuffer(b"".join(column.drop_null().to_pylist()), np.uint8).reshape(len(rows), HASH_BYTES)

    @cached_property
    def groups(self) -> list[str | None]:
        """The group of each image (a patient, a site, a burst), if the source has groups."""
        names: list[str | None] = self._index["group"].to_pylist()
        return names

    def extra(self, rows: NDArray[np.int64]) -> list[dict[str, str]]:
        """Return the extra columns of the source for (n,) rows, by column name."""
        return [json.loads(text) if text else {} for text in self._index["extra"].take(rows).to_pylist()]

    def withhold(self, rows: NDArray[np.int64]) -> None:
        """Refuse to read the images of these rows from now on, also in copies of this object in other processes."""
        self._withheld = np.zeros(len(self), np.bool_)
        self._withheld[rows] = True

    def _check_withheld(self, rows: Any) -> None:
        if self._withheld is not None and self._withheld[rows].any():
            row = int(np.atleast_1d(rows)[np.atleast_1d(self._withheld[rows])][0])
            raise RunError(f"data/split: '{self.ids[row]}' is in the test split, which train must not read; use evaluate")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> ImageArray:
        """Return a copy of one image, (H, W, C) of `dtype`."""
        return self.read(row)

    def shown(self, row: int) -> NDArray[np.uint8]:
        """Return an image for people to look at, (H, W, 1) or (H, W, 3) uint8; see `shown_image`."""
        return shown_image(self.read(row))

    def read(self, row: int, side: int | None = None) -> ImageArray:
        """Return a copy of one image, (H, W, C) of `dtype`; a large JPEG may be smaller if `side` is given, as `decode` says.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        if not self.is_encoded:
            return self._in_colour(np.array(self._pixels(row)), row)
        try:
            image = read_image(self._file(row), int(self.sizes[row].prod(dtype=np.int64)), side, self._file_bands).image
        except ImageError as error:
            assert isinstance(self._images, Shards)
            name = paths.shown(self.directory / SHARD_NAME.format(self._images.numbers[row]))
            raise InputError(f"{name}: '{self.ids[row]}' {error}; the file is damaged, run 'dvc checkout'") from error
        return self._in_colour(image.reshape(*image.shape[:2], -1), row)

    def read_part(self, row: int, box: Box) -> ImageArray:
        """Return a copy of a rectangle of one image, (height, width, C) of `dtype`, reading no more than it needs if possible."""
        rows, columns = slice(box[0], box[0] + box[2]), slice(box[1], box[1] + box[3])
        if not self.is_encoded:
            return self._in_colour(np.array(self._pixels(row)[rows, columns]), row)
        part = None if self._file_bands else read_jpeg_part(self._file(row), box)
        return self.read(row)[rows, columns] if part is None else self._in_colour(part, row)

    def size_at(self, row: int, side: int | None) -> tuple[int, int] | None:
        """Return the height and width that `read` returns; None if only decoding tells, since it may be reduced."""
        height, width = self.sizes[row].tolist()
        return None if self.is_encoded and reduction(min(height, width), side) > 1 else (height, width)

    def _file(self, row: int) -> bytes:
        self._check_withheld(row)
        assert isinstance(self._images, Shards)
        return self._images.content(row).tobytes()

    def _pixels(self, row: int) -> ImageArray:
        self._check_withheld(row)
        if isinstance(self._images, Shards):
            return self._images.content(row).view(STORED[self.dtype]).reshape(*self.sizes[row], -1)
        image: ImageArray = self._images[row]
        return image

    def _in_colour(self, image: ImageArray, row: int) -> ImageArray:
        if image.shape[2] > self.channels:
            name = f"{paths.shown(self.directory)}: '{self.ids[row]}'"
            raise InputError(f"{name} is not grey; the folder is damaged, run 'dvc checkout'")
        return np.repeat(image, 3, axis=2) if image.shape[2] < self.channels else image

    def file(self, row: int) -> bytes | None:
        """Return the file of one image as it is stored; None if pixels are."""
        self._check_withheld(row)
        return self._file(row) if self.is_encoded else None

    def batch(self, rows: NDArray[np.int64]) -> ImageArray:
        """Return the images of (n,) rows as the network sees them, (n, H, W, C) uint8 or float32, if the pack has a `size`."""
        assert not isinstance(self._images, Shards), "these images are not stored as pixels of one size"
        self._check_withheld(rows)
        return network_values(np.asarray(self._images[rows]))

    def __reduce__(self) -> tuple[Any, ...]:
        # The third item becomes attributes of the opened pack.
        return partial(type(self).open, verify=False), (self.directory,), {"_withheld": self._withheld}
