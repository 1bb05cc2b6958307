"""Decoded images that stay in memory."""

import threading
from typing import Any

from numpy.typing import NDArray


class ImageCache:
    """Images that stay in memory once they were read, up to a number of bytes.

    Threads may share it.

    Parameters
    ----------
    num_bytes
        Largest size of all images.
    """

    def __init__(self, num_bytes: int):
        self.num_bytes = num_bytes
        self._images: dict[int, NDArray[Any]] = {}
        self._free = num_bytes
        self._lock = threading.Lock()

    def get(self, row: int) -> NDArray[Any] | None:
        """Return the image (H, W, C) of a row, or None."""
        return self._images.get(row)

    def holds(self, row: int, num_bytes: int) -> bool:
        """Return whether the image of a row is there, or would be kept, having a number of bytes."""
        return row in self._images or num_bytes <= self._free

    def add(self, row: int, image: NDArray[Any]) -> None:
        """Keep an image if there is room."""
        with self._lock:
            if image.nbytes <= self._free and row not in self._images:
                self._images[row] = image
                self._free -= image.nbytes
