"""Image files to predict: finding them, and reading them batch by batch."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.base.params import PredictParams
from darkroom.data.images import EXTENSIONS, ImageArray, ImageError, decode
from darkroom.data.resizing import fit, resize


def find_photos(chosen: Sequence[str | Path]) -> list[Path]:
    """Return the files named, and the images in the folders named and below, sorted by name within a folder.

    In folders, files without an image's ending and hidden files are skipped, and links to folders are not followed.

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
            inside = sorted(_walk(path))
            if not inside:
                raise InputError(f"{path}: holds no image ({', '.join(EXTENSIONS)}); name another folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(
                f"{path}: {'is no file or folder' if path.exists() else 'does not exist'}; name an image or a folder"
            )
    return found


# Batches that are read ahead.
AHEAD = 1


class Photos:
    """Batches of images at the size that the network takes; unreadable ones are skipped and listed.

    They are first resized to `resize`, as `download.resize` did with the training images.

    Attributes
    ----------
    read : list of Path
        Images read so far, in order.
    bad : list of (Path, str)
        Images that could not be read, with the reason.
    """

    def __init__(
        self, paths: Sequence[Path], params: PredictParams, *, image_size: int, channels: int, resize: int | None = None
    ):
        self.paths, self.batch_size, self.max_pixels = paths, params.batch_size, params.max_pixels
        self.image_size, self.channels, self.resize = image_size, channels, resize
        self.read: list[Path] = []
        self.bad: list[tuple[Path, str]] = []

    def __len__(self) -> int:
        """Return the number of batches if every image can be read."""
        return -(-len(self.paths) // self.batch_size)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield batches (n, image_size, image_size, channels) uint8; images are decoded in threads."""
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
            threads.shutdown(cancel_futures=True)

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
        if len(self.bad) > max_bad:
            path, reason = self.bad[0]
            more = f" (and {len(self.bad) - 1} more)" if len(self.bad) > 1 else ""
            raise InputError(f"{path}: cannot be read ({reason}){more}; fix or remove it, or raise predict.max_bad")

    def _read_one(self, path: Path) -> ImageArray | str:
        try:
            image = decode(path.read_bytes(), self.max_pixels, self.resize or self.image_size).image
            if self.resize is not None:
                image = resize(image, self.resize)
            return fit(image, self.image_size, self.channels)
        except (ImageError, OSError) as error:
            return str(error)


def _walk(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            elif Path(entry.name).suffix.lower() in EXTENSIONS and entry.is_file():
                yield Path(entry.path)
