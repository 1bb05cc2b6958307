"""Image files to predict, read batch by batch."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.base.params import PredictParams
from darkroom.data.bands import Bands, DType, network_values
from darkroom.data.images import ImageArray, ImageError
from darkroom.data.resizing import Size, Way, fit, height_and_width, resize
from darkroom.data.stored import Form, read_as_stored

# Bytes of files that wait to be decoded.
MOST_WAITING_BYTES = 1 << 28

Item = TypeVar("Item")


@dataclass(frozen=True)
class PhotoReader:
    """From the bytes of a file to the image that the network is given: as download, the pack and training have made theirs.

    Attributes
    ----------
    image_size, channels, resize, stored, way, dtype, bands
        As in the model's `Preprocessing`.
    preprocess
        Its steps, which one thread at a time applies.
    """

    image_size: Size
    channels: int
    resize: int | None = None
    stored: Form | None = None
    way: Way = "crop"
    dtype: DType = "uint8"
    bands: Bands | None = None
    preprocess: Callable[[ImageArray], ImageArray] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, seen: Any, preprocess: Callable[[ImageArray], ImageArray] | None) -> "PhotoReader":
        """Return the reader for a model's `Preprocessing`."""
        same = ("image_size", "channels", "resize", "stored", "way", "dtype", "bands")
        return cls(**{name: getattr(seen, name) for name in same}, preprocess=preprocess)

    def __call__(self, data: bytes, max_pixels: int) -> ImageArray:
        """Return the image (height, width, channels).

        Raises
        ------
        ImageError
            If it cannot be read, or has other bands than the training images.
        """
        side = None if self.preprocess else max(height_and_width(self.image_size))
        image = read_as_stored(data, max_pixels, side, form=self.stored, resize=self.resize, bands=self.bands)
        return self.prepare(image)

    def prepare(self, image: ImageArray) -> ImageArray:
        """Return the image (height, width, channels) of a decoded one, (H, W) or (H, W, C); errors as above."""
        if not image.size:
            raise ImageError("has no pixels")
        if image.dtype != self.dtype:
            raise ImageError(f"has {image.dtype} values, but the model was trained on {self.dtype}")
        if self.resize is not None:
            image = resize(image, self.resize)
        image = network_values(image if image.ndim == 3 else image[..., None])
        if self.bands and image.shape[2] != self.channels:
            raise ImageError(f"has {image.shape[2]} band(s), but the model was trained on {self.channels}")
        if self.preprocess:
            with self.lock:
                image = self.preprocess(image)
        return fit(image, self.image_size, self.channels, self.way)


class ReadBatch(NamedTuple, Generic[Item]):
    """Some images that were read together."""

    images: NDArray[Any] | None
    """(n, height, width, channels); None if none of them could be read."""
    read: list[Item]
    """The n that could be read."""
    bad: list[tuple[Item, str]]
    """Those that could not, with the reason."""


def read_batches(
    items: Iterable[Item],
    batch_size: int,
    read: Callable[[Item], ImageArray | str],
    *,
    num_threads: int | None = None,
    num_bytes: Callable[[Item], int] = lambda _: 0,
) -> Iterator[ReadBatch[Item]]:
    """Read images in threads, and yield them in order, while the caller computes with those before.

    Parameters
    ----------
    items
        What is read.
    batch_size
        Items of each batch; fewer images are in it if some cannot be read.
    read
        Returns the image, or why there is none; it is called in a thread.
    num_threads
        None: as many as cores.
    num_bytes
        Returns what an item holds in memory until it is read.
    """
    threads = ThreadPoolExecutor(num_threads or os.cpu_count())
    begun: deque[tuple[Item, Future[ImageArray | str]]] = deque()
    waiting, rest = 0, iter(items)

    def ahead() -> None:
        nonlocal waiting
        while len(begun) < batch_size and waiting < MOST_WAITING_BYTES:
            try:
                item = next(rest)
            except StopIteration:
                return
            waiting += num_bytes(item)
            begun.append((item, threads.submit(read, item)))

    try:
        ahead()
        while begun:
            images: NDArray[Any] | None = None
            read_ones, bad = list[Item](), list[tuple[Item, str]]()
            for _ in range(batch_size):
                ahead()
                if not begun:
                    break
                item, future = begun.popleft()
                image = future.result()
                waiting -= num_bytes(item)
                if isinstance(image, str):
                    bad.append((item, image))
                    continue
                if images is None:  # filled one by one: a copy of a list of them would need the memory twice
                    images = np.empty((batch_size, *image.shape), image.dtype)
                images[len(read_ones)] = image
                read_ones.append(item)
            yield ReadBatch(None if images is None else images[: len(read_ones)], read_ones, bad)
            del images
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # a signal ends the wait for images that take long to decode


class Photos:
    """Batches of images at the size that the network takes; unreadable ones are skipped and listed.

    Parameters
    ----------
    paths
        The files.
    params
        Section `predict` of params.yaml.
    reader
        Makes the network's image of a file.

    Attributes
    ----------
    read : list of Path
        Images read so far, in order.
    bad : list of (Path, str)
        Images that could not be read, with the reason.
    """

    def __init__(self, paths: Sequence[Path], params: PredictParams, reader: PhotoReader):
        self.paths, self.batch_size, self.max_pixels, self.reader = paths, params.batch_size, params.max_pixels, reader
        self.read: list[Path] = []
        self.bad: list[tuple[Path, str]] = []

    def __len__(self) -> int:
        """Return the number of batches if every image can be read."""
        return -(-len(self.paths) // self.batch_size)

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield batches (n, height, width, channels); images are decoded in threads."""
        for batch in read_batches(self.paths, self.batch_size, self._read_one):
            self.read += batch.read
            self.bad += batch.bad
            if batch.images is not None:
                yield batch.images

    def check(self, max_bad: int) -> None:
        """Raise InputError if more than `max_bad` images could not be read."""
        check_bad(self.bad, max_bad)

    def _read_one(self, path: Path) -> ImageArray | str:
        try:
            return self.reader(path.read_bytes(), self.max_pixels)
        except (ImageError, OSError) as error:
            return str(error)


def check_bad(bad: Sequence[tuple[Path, str]], max_bad: int) -> None:
    """Raise InputError if more than `max_bad` images could not be read; each with its reason."""
    if len(bad) > max_bad:
        path, reason = bad[0]
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise InputError(f"{path}: cannot be read ({reason}){more}; fix or remove it, or raise predict.max_bad")
