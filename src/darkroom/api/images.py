"""The images that a `Model` takes: files, folders, bytes, arrays, tensors, images of Pillow; one, or several of them.

N images, C channels, H by W pixels.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.data.images import ImageArray, ImageError, convert, decode, encode
from darkroom.data.resizing import height_and_width
from darkroom.data.stored import resized
from darkroom.inference.photos import PhotoReader
from darkroom.prediction.find_photos import find_photos, without_arrays
from darkroom.sources.own.datasets import pixels

FOUR = 4
Named = tuple[str | None, Any]
"""The path of an image that is a file, and the image."""


def several(images: Any, *, has_bands: bool) -> Iterable[Any] | None:
    """Return the images that are meant by one argument; None if it is one image itself.

    Parameters
    ----------
    images
        A folder, a batch (N, H, W, C) or as a tensor (N, C, H, W), or anything that can be iterated are several.
    has_bands
        Whether the model takes arrays of bands from folders, too.

    Raises
    ------
    InputError
        If a path does not exist, or it is no image and cannot be iterated.
    """
    if isinstance(images, str | Path):
        found = find_photos([images])
        if not Path(images).is_dir():
            return None
        return found if has_bands else without_arrays(found, [images])
    if isinstance(images, bytes | Image.Image):
        return None
    if getattr(images, "ndim", FOUR) < FOUR:
        return None
    if not hasattr(images, "__iter__") and not hasattr(images, "__getitem__"):
        what = "a file, a folder, its bytes, an array or an image of Pillow, or several"
        raise InputError(f"predict: {type(images).__name__} is no image; give {what}")
    every: Iterable[Any] = iter(images)
    return every


def read(image: Any, number: int, reader: PhotoReader, max_pixels: int) -> ImageArray:
    """Return one image as the network is given it, (height, width, channels).

    A file, its bytes, and a JPEG that Pillow has opened and not yet loaded are read as `./darkroom predict` reads a file.

    Parameters
    ----------
    image
        As the argument of `Model.predict`.
    number
        Of the image, from 0, for messages.
    reader, max_pixels
        What the model makes of an image, and `predict.max_pixels`.

    Raises
    ------
    InputError
        Naming the image that cannot be read.
    """
    name = str(image) if isinstance(image, str | Path) else f"image {number}"
    try:
        if 0 in (image.size if isinstance(image, Image.Image) else getattr(image, "shape", ())):
            raise ImageError("has no pixels")
        if isinstance(image, str | Path):
            return reader(Path(image).read_bytes(), max_pixels)
        if isinstance(image, bytes):
            return reader(image, max_pixels)
        if isinstance(image, Image.Image) and reader.bands is None:
            content = _unread(image)
            return reader(content, max_pixels) if content else reader.prepare(_of_pillow(image, reader, max_pixels))
        return reader.prepare(np.asarray(image) if reader.bands else pixels(image))
    except (ImageError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"{name}: cannot be read ({reason}); correct it, or leave it out") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise InputError(f"{name}: {error}") from None
        raise InputError(f"{name}: cannot be used ({error}); convert it to grey or RGB") from None


def _unread(image: Image.Image) -> bytes | None:
    """Return the file of a JPEG of which Pillow has read the header alone: it is then decoded reduced, as a file is."""
    file: Any = getattr(image, "fp", None)
    if image.format not in ("JPEG", "MPO") or file is None or image.tell():
        return None
    place = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(place)
    return content


def _of_pillow(image: Image.Image, reader: PhotoReader, max_pixels: int) -> ImageArray:
    """Return the pixels of an opened image as data/raw would have kept them."""
    decoded = convert(image)
    made = resized(decoded, reader.resize)
    if reader.stored != "encoded" or made is decoded.image:
        return made
    side = None if reader.preprocess else max(height_and_width(reader.image_size))
    return decode(encode(made, lossy=decoded.lossy), max_pixels, side).image


def paths_of(images: Iterable[Any]) -> list[str | None]:
    """Return the path of each image that is a file."""
    return [str(each) if isinstance(each, str | Path) else None for each in images]


def in_batches(images: Iterable[Any], size: int) -> Iterator[tuple[int, list[Any]]]:
    """Yield the number of the first image of each batch, and its images, as soon as they are there."""
    start, batch = 0, []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield start, batch
            start, batch = start + size, []
    if batch:
        yield start, batch
