"""Photos to predict, for tests of ./darkroom predict."""

from pathlib import Path
from typing import Any

from PIL import Image


def write_photos(digits: Any, folder: Path, rows: Any) -> None:
    """Write rows of the pack as images with numbers as names."""
    folder.mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        Image.fromarray(digits.pack[int(row)][..., 0]).save(folder / f"{number:03d}.png")
