"""Reading data/raw: the pictures, labels and hashes that the stage download has packed."""

import tokenize
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from darkroom import files, paths
from darkroom.data.duplicates import HASH_BYTES
from darkroom.data.listing import SPLITS
from darkroom.data.pictures import Picture, PictureError, decode
from darkroom.errors import InputError

COLUMNS = ("id", "label", "split", "group", "pixel_hash", "near_hash", "height", "width")


class Pack:
    """The pictures of data/raw, by row; the files are memory-mapped, so that opening costs nothing and processes share them.

    A pack may be sent to other processes: it is opened anew there.

    Attributes
    ----------
    directory : Path
        Where it stands.
    dataset : dict
        What dataset.json tells of it and of its source.
    classes : list of str
        Class names; a label is an index into it.
    channels : int
        1 if every picture is grey, else 3.
    size : (H, W) or None
        The size of the pictures if they are stored as pixels, all of one size, so that `batch` can be used.
    sizes : (N, 2) int32
        Height and width of each picture.
    labels : (N,) int64
        Index of the class of each picture.
    splits : (N,) str
        `train`, `val` or `test`, as the source has it; all `train` if it has no splits.
    """

    def __init__(self, directory: Path, dataset: dict[str, Any], index: Any, images: NDArray[np.uint8]):
        self.directory, self.dataset = directory, dataset
        self.classes: list[str] = dataset["classes"]
        self.channels: int = dataset["channels"]
        self.size: tuple[int, int] | None = (images.shape[1], images.shape[2]) if images.ndim == 4 else None
        self.sizes = np.stack([index["height"].to_numpy(), index["width"].to_numpy()], axis=1)
        self.labels: NDArray[np.int64] = index["label"].to_numpy().astype(np.int64)
        self.splits: NDArray[np.str_] = np.array(index["split"].to_pylist(), dtype=str)
        self._index, self._images = index, images
        if self.size is None:
            self._offsets, self._lengths = index["offset"].to_numpy(), index["length"].to_numpy()

    @classmethod
    def open(cls, directory: Path, *, verify: bool = True) -> Self:
        """Open what `write_pack` has written, once its files were found to have the SHA-256 that dataset.json records.

        Raises
        ------
        InputError
            If it is missing or damaged.
        """
        name = paths.shown(directory)
        if not (directory / "dataset.json").is_file():
            raise InputError(f"{name}: holds no pictures; run 'dvc repro download', or 'dvc checkout' if this commit has them")
        # Imported here, after what fails often: it takes 0.3 s.
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            dataset = files.read_sealed_json(directory / "dataset.json")
            if verify:
                _verify(directory, dataset["files"])
            index = pq.read_table(directory / "index.parquet")
            pack = cls(directory, dataset, index, _map_images(directory, dataset["format"]))
            pack._check(dataset["count"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, pa.ArrowException) as error:
            raise InputError(
                f"{name}: is damaged ({type(error).__name__}: {error}); run 'dvc checkout', or 'dvc repro --force download'"
            ) from error
        return pack

    def _check(self, count: int) -> None:
        if missing := set(COLUMNS) - set(self._index.schema.names):
            raise ValueError(f"the index has no {', '.join(sorted(missing))}")
        if self.size is not None:
            num_images = len(self._images)
            complete = self._images.shape[3] == self.channels
        else:
            num_images = count
            ends = self._offsets + self._lengths
            complete = bool((self._offsets >= 0).all()) and int(ends.max(initial=0)) == len(self._images)
        if not (len(self.labels) == num_images == count and complete):
            raise ValueError("dataset.json, the index and the images do not belong together")
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < len(self.classes)):
            raise ValueError("a label has no class")
        if self.channels not in (1, 3) or not all(isinstance(name, str) for name in self.classes):
            raise ValueError("the classes are no texts, or the channels neither 1 nor 3")
        if not np.isin(self.splits, SPLITS).all():
            raise ValueError("a picture is in an unknown split")

    @cached_property
    def ids(self) -> list[str]:
        """The N names of the pictures in their source, as printable text."""
        names: list[str] = self._index["id"].to_pylist()
        return names

    @cached_property
    def pixel_hashes(self) -> list[bytes]:
        """N hashes of 16 bytes, equal for equal pixels."""
        hashes: list[bytes] = self._index["pixel_hash"].to_pylist()
        return hashes

    @cached_property
    def near_hashes(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Rows (M,) of the pictures that have a perceptual hash, and the hashes (M, 32)."""
        column = self._index["near_hash"].combine_chunks()
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        return rows, np.frombuffer(b"".join(column.drop_null().to_pylist()), np.uint8).reshape(len(rows), HASH_BYTES)

    @cached_property
    def groups(self) -> list[str | None]:
        """What each picture belongs to (a patient, a site, a burst), if the source says so."""
        names: list[str | None] = self._index["group"].to_pylist()
        return names

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Picture:
        """Return a copy of one picture, (H, W, C) uint8."""
        if self.size is not None:
            return np.array(self._images[row])
        start, length = int(self._offsets[row]), int(self._lengths[row])
        try:
            picture = decode(self._images[start : start + length].tobytes(), int(self.sizes[row].prod(dtype=np.int64))).picture
        except PictureError as error:
            name = paths.shown(self.directory / "images.bin")
            raise InputError(f"{name}: '{self.ids[row]}' {error}; the file is damaged, run 'dvc checkout'") from error
        picture = picture.reshape(*picture.shape[:2], -1)
        if picture.shape[2] > self.channels:
            raise InputError(
                f"{paths.shown(self.directory)}: '{self.ids[row]}' is not grey; the folder is damaged, run 'dvc checkout'"
            )
        return np.repeat(picture, 3, axis=2) if picture.shape[2] < self.channels else picture

    def batch(self, rows: NDArray[np.int64]) -> Picture:
        """Return copies of the pictures of (n,) rows as (n, H, W, C) uint8; only for pictures of one `size`."""
        assert self.size is not None, "these pictures are not stored as pixels of one size"
        return np.asarray(self._images[rows])

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return partial(type(self).open, verify=False), (self.directory,)


def _verify(directory: Path, recorded: dict[str, str]) -> None:
    for name, digest in recorded.items():
        if files.sha256(directory / name) != digest:
            raise ValueError(f"{name} does not have the SHA-256 that dataset.json records")


def _load_npy(path: Path) -> NDArray[np.uint8]:
    try:
        images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (tokenize.TokenError, SyntaxError, OverflowError) as error:  # the header is a Python literal
        raise ValueError(f"{path.name} has no readable header ({error})") from error
    return images


def _map_images(directory: Path, form: str) -> NDArray[np.uint8]:
    """Return the pixels (N, H, W, C), or the bytes of encoded pictures one after the other."""
    if form == "raw":
        images = _load_npy(directory / "images.npy")
        if images.ndim != 4 or images.dtype != np.uint8:
            raise ValueError(f"images.npy holds {images.dtype} of shape {images.shape}")
    elif form == "encoded":
        images = np.memmap(directory / "images.bin", np.uint8, mode="r")
    else:
        raise ValueError(f"dataset.json has the unknown format {form!r}")
    # As a plain view: indexing a memmap makes a memmap, which is slower.
    return np.asarray(images)
