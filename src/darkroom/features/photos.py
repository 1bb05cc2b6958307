"""Features, perceptual hashes and appearance of image files, kept on disk for the next time. n files, D features.

What is kept goes by the content of a file, so that a copy or another name needs no network. Reading many files to learn their
content would take minutes, so that this is kept, too: as long as size, times and place on the disk are the same.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import from_numpy

from darkroom.base.errors import Interrupted
from darkroom.base.params import PredictParams
from darkroom.data.images import ImageArray, ImageError
from darkroom.data.perceptual_hash import HASH_BYTES, perceptual_hash
from darkroom.data.resizing import height_and_width
from darkroom.data.stored import read_as_stored
from darkroom.features import extract
from darkroom.features.appearance import APPEARANCE, measure_appearance
from darkroom.features.backbone import Backbone
from darkroom.features.cache import KEY_BYTES, Features, Places, cached, content_key
from darkroom.inference.photos import PhotoReader, Photos

# Numbers that stand after the features of a photo.
BESIDE = HASH_BYTES + len(APPEARANCE)
# Files that are read together for their content, and rows that are moved together.
FILES, BLOCK = 1000, 4096


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of image files, and what else is read from them.

    Attributes
    ----------
    paths
        n files that could be read.
    values : (n, D) float32
        Of length 1; may be mapped from a file.
    hashes : (n, 32) uint8
        Perceptual hashes; zeros where a photo has none.
    appearance : (n, 4) float32
        What `APPEARANCE` names.
    bad
        Files that could not be read, with the reason.
    """

    paths: list[Path]
    values: Features
    hashes: NDArray[np.uint8]
    appearance: NDArray[np.float32]
    bad: list[tuple[Path, str]]


def photo_features(backbone: Backbone, photos: Sequence[Path], params: PredictParams) -> PhotoFeatures:
    """Return the features of image files; those that cannot be read are listed. `params` has the limits for reading them.

    Raises
    ------
    InputError
        If the network has no last layer of its own.
    Interrupted
        Once what was computed is kept.
    """
    params = params.model_copy(update={"batch_size": extract.BATCH_SIZE})
    bad: list[tuple[Path, str]] = []
    keys = _content_keys(photos)
    waiting: list[int] = []

    def compute(places: Places) -> Iterator[tuple[Places, Features]]:
        place_of = {photos[place]: place for place in places.tolist()}
        reading = _DescribedPhotos(list(place_of), params, reader)
        done = 0
        waiting[:] = [len(places)]
        for batch in extract.shown(reading, len(reading), backbone, len(places)):
            features = backbone.features(from_numpy(batch).permute(0, 3, 1, 2)).numpy()
            read = reading.read[done : done + len(features)]
            beside = np.stack([reading.beside.pop(path) for path in read])
            yield np.array([place_of[path] for path in read]), np.concatenate([features, beside], axis=1)
            done += len(features)
            waiting[:] = [len(places) - done]
        bad.extend(reading.bad)

    reader = PhotoReader.of(backbone.preprocessing, backbone.preprocess)
    # Photos may be stored as data/raw stores its images, which a pretrained network says nothing of.
    stored = ["photos", reader.stored, reader.resize, *APPEARANCE]
    try:
        rows, there = cached(extract.features_dir(), [*extract.about(backbone), *stored], keys, compute)
    except Interrupted as error:
        done = len(set(keys)) - sum(waiting)
        message = f"features of {done} of {len(photos)} photos are kept, run the same command again to go on with the others"
        raise Interrupted(error.number, message) from None
    read = [path for path, is_there in zip(photos, there, strict=True) if is_there]
    rows = _without_gaps(rows, there)
    size = max(0, rows.shape[1] - BESIDE)
    beside = rows[:, size:] if rows.shape[1] else np.zeros((0, BESIDE), np.float32)
    hashes = np.ascontiguousarray(beside[:, :HASH_BYTES], np.uint8)
    return PhotoFeatures(read, rows[:, :size], hashes, beside[:, HASH_BYTES:], _all_bad(photos, keys, bad))


class _DescribedPhotos(Photos):
    """Photos that also get a hash and an appearance, of all that is in them: the network may see its middle alone."""

    def __init__(self, paths: Sequence[Path], params: PredictParams, reader: PhotoReader):
        super().__init__(paths, params, reader)
        self.beside: dict[Path, NDArray[np.float32]] = {}

    def _read_one(self, path: Path) -> ImageArray | str:
        reader = self.reader
        side = None if reader.preprocess else max(height_and_width(reader.image_size))
        try:
            image = read_as_stored(
                path.read_bytes(), self.max_pixels, side, form=reader.stored, resize=reader.resize, bands=reader.bands
            )
            bits = np.frombuffer(perceptual_hash(image) or bytes(HASH_BYTES), np.uint8)
            self.beside[path] = np.concatenate([bits.astype(np.float32), measure_appearance(image)])
            return reader.prepare(image)
        except (ImageError, OSError) as error:
            return str(error)


def _content_keys(photos: Sequence[Path]) -> list[bytes]:
    """Return the key of each file by its content, which is read only if the file is new or has changed."""

    def compute(places: Places) -> Iterator[tuple[Places, Features]]:
        with ThreadPoolExecutor() as threads:
            for start in range(0, len(places), FILES):
                part = places[start : start + FILES]
                found = list(threads.map(_content, [photos[place] for place in part.tolist()]))
                read = [place for place, key in enumerate(found) if key is not None]
                keys = b"".join(found[place] or b"" for place in read)
                yield part[read], np.frombuffer(keys, np.uint8).reshape(-1, KEY_BYTES).astype(np.float32)

    values, there = cached(
        extract.features_dir(), ["content of files", extract.FORMAT], [_identity(each) for each in photos], compute
    )
    # A file that cannot be read is reported when it is decoded.
    return [
        values[place].astype(np.uint8).tobytes() if there[place] else content_key(os.fsencode(path))
        for place, path in enumerate(photos)
    ]


def _content(path: Path) -> bytes | None:
    try:
        return content_key(path.read_bytes())
    except OSError:
        return None


def _identity(path: Path) -> bytes:
    """Return what is equal as long as a file has not changed; its time of change cannot be set back."""
    try:
        about = path.stat()
        text = f"{path.absolute()}\n{about.st_dev} {about.st_ino} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
    except OSError:
        text = f"{path.absolute()}\n"
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:KEY_BYTES]


def _without_gaps(values: Features, there: NDArray[np.bool_]) -> Features:
    """Return the rows that are there, moved together in place: a copy could fill the memory."""
    end = 0
    for start in range(0, len(values), BLOCK):
        kept = values[start : start + BLOCK][there[start : start + BLOCK]]
        values[end : end + len(kept)] = kept
        end += len(kept)
    return values[:end]


def _all_bad(photos: Sequence[Path], keys: Sequence[bytes], bad: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Return every file that could not be read, also those that equal one that was tried, in the order of files."""
    key_of = dict(zip(photos, keys, strict=True))
    reasons = {key_of[path]: reason for path, reason in bad}
    return [(path, reasons[key]) for path, key in zip(photos, keys, strict=True) if key in reasons]
