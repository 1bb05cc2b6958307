"""Image files to predict: finding them, and reading them batch by batch."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.base.errors import InputError, warn
from darkroom.base.params import PredictParams
from darkroom.data.bands import Bands, DType, network_values
from darkroom.data.images import EXTENSIONS, ImageArray, ImageError
from darkroom.data.listing import junk_of, printable
from darkroom.data.resizing import Size, Way, fit, height_and_width, resize
from darkroom.data.stored import Form, read_as_stored

# Bands may also come in arrays.
ARRAY = ".npy"


# Files that are named where some are left out.
NAMED = 10


def find_photos(chosen: Sequence[str | Path], beside: Sequence[Path] = ()) -> list[Path]:
    """Return the files named, and the images in the folders named and below, sorted by name within a folder.

    In folders, files without an image's ending, links that lead nowhere or to folders, and what is no file are left out, which a
    warning says; hidden files, and those of `beside`, are left out without a word.

    Raises
    ------
    InputError
        If a path is empty or does not exist, is neither file nor folder, or a folder holds no image.
    """
    found: list[Path] = []
    # Path('') is the current folder: with an unset variable, `predict "$photo"` would predict whatever is in there.
    if "" in chosen:
        raise InputError("predict: one of the paths is empty; name an image or a folder")
    for path in map(Path, chosen):
        if path.is_dir():
            left_out: list[tuple[str, str]] = []
            inside = sorted(_walk(path, left_out))
            left_out = [each for each in left_out if path / each[0] not in beside]
            if not inside:
                raise _no_image(path, left_out)
            if left_out:
                warn(f"{path}: {_described(left_out)} {'is' if len(left_out) == 1 else 'are'} left out")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(
                f"{path}: {'is no file or folder' if path.exists() else 'does not exist'}; name an image or a folder"
            )
    return found


def _described(left_out: list[tuple[str, str]]) -> str:
    """Return the number of files, and some of their names with the reasons."""
    named = ", ".join(f"'{printable(name)}' {reason}" for name, reason in sorted(left_out)[:NAMED])
    more = f", and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    return f"{len(left_out)} file{'' if len(left_out) == 1 else 's'} ({named}{more})"


def without_arrays(found: Sequence[Path], chosen: Sequence[str | Path]) -> list[Path]:
    """Leave out arrays in folders, which are no images for a model of grey or RGB."""
    named = {Path(path) for path in chosen}
    kept = [path for path in found if path.suffix.lower() != ARRAY or path in named]
    if not kept:
        raise _no_image(Path(chosen[0]))
    if len(kept) < len(found):
        told = [(path.name, "is an array, but the model takes images") for path in found if path not in set(kept)]
        warn(f"predict: {_described(told)} {'is' if len(told) == 1 else 'are'} left out")
    return kept


def _no_image(folder: Path, left_out: list[tuple[str, str]] | None = None) -> InputError:
    held = f", only {_described(left_out)}" if left_out else ""
    return InputError(f"{folder}: holds no image ({', '.join(EXTENSIONS)}){held}; name another folder")


# Batches that are read ahead.
AHEAD = 1


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
        threads = ThreadPoolExecutor(os.cpu_count())
        begun: deque[list[tuple[Path, Future[ImageArray | str]]]] = deque()
        try:
            for start in range(0, len(self.paths), self.batch_size):
                paths = self.paths[start : start + self.batch_size]
                begun.append([(path, threads.submit(self._read_one, path)) for path in paths])
                if len(begun) > AHEAD:
                    yield from self._made(begun.popleft())
            while begun:
                yield from self._made(begun.popleft())
        finally:
            # A signal ends the wait for images that take long to decode.
            threads.shutdown(wait=False, cancel_futures=True)

    def _made(self, begun: list[tuple[Path, Future[ImageArray | str]]]) -> Iterator[ImageArray]:
        """Yield the batch, unless none of its images could be read."""
        images = []
        for path, future in begun:
            image = future.result()
            if isinstance(image, str):
                self.bad.append((path, image))
            else:
                self.read.append(path)
                images.append(image)
        if images:
            yield np.stack(images)

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


def _walk(folder: Path, left_out: list[tuple[str, str]], below: str = "") -> Iterator[Path]:
    """Yield the images in a folder and below, and append names and reasons of what is left out."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or junk_of(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), left_out, f"{below}{entry.name}/")
            elif reason := _why_not(entry):
                left_out.append((below + entry.name, reason))
            else:
                yield Path(entry.path)


def _why_not(entry: os.DirEntry[str]) -> str | None:
    """Return why a file is left out; None if it is an image by its name."""
    if entry.is_dir():
        return "is a link to a folder"
    if not entry.is_file():
        return "is a broken link" if entry.is_symlink() else "is no regular file"
    ending = Path(entry.name).suffix
    if ending.lower() in (*EXTENSIONS, ARRAY):
        return None
    return f"is no image by its ending {ending}" if ending else "has no ending"
