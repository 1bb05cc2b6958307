"""Features and perceptual hashes of the photos in a folder, kept on disk part by part for the next time. N photos, D features."""

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import Interrupted
from darkroom.base.params import PredictParams
from darkroom.data.images import ImageArray, ImageError
from darkroom.data.perceptual_hash import HASH_BYTES, perceptual_hash
from darkroom.data.resizing import height_and_width
from darkroom.data.stored import read_as_stored
from darkroom.features.backbone import Backbone
from darkroom.features.extract import BATCH_SIZE, features_dir
from darkroom.inference.photos import PhotoReader, Photos
from darkroom.sources.progress import progress_bar

PART = 512  # photos of a file
KEY_BYTES = 16
# What a damaged file raises.
DAMAGED = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True)
class FolderFeatures:
    """The photos of a folder that can be read.

    Attributes
    ----------
    paths
        N files.
    values : (N, D) float32
        Of length 1.
    hashes : (N, 32) uint8
        Perceptual hashes; zeros where a photo has none.
    bad
        Files that cannot be read, with the reason.
    """

    paths: list[Path]
    values: NDArray[np.float32]
    hashes: NDArray[np.uint8]
    bad: list[tuple[Path, str]]


def folder_features(backbone: Backbone, folder: Path, paths: Sequence[Path], params: PredictParams) -> FolderFeatures:
    """Return the features of photos in a folder; those that were computed before and have not changed are read from the disk.

    Parameters
    ----------
    backbone
        Makes the features.
    folder
        An absolute path: each has its own files.
    paths
        Files in it.
    params
        `max_pixels`.

    Raises
    ------
    Interrupted
        Once what was computed is kept.
    """
    kept = _Kept(features_dir() / hashlib.sha256(f"{backbone.digest}\n{folder}".encode(errors="surrogateescape")).hexdigest())
    keys = {path: _key(folder, path) for path in paths}
    found = kept.read(set(keys.values()))
    new = [path for path in paths if keys[path] not in found]
    bad: list[tuple[Path, str]] = []
    batches: list[_Batch] = []
    try:
        with progress_bar("features", len(new)) as advance:
            for start in range(0, len(new), PART):
                batches = []
                bad += _compute(backbone, new[start : start + PART], params, batches, advance)
                found |= kept.write(batches, keys)
    except Interrupted as error:
        done = len(found | kept.write(batches, keys))
        message = f"features of {done} of {len(paths)} photos are kept, run the same command again to go on with the others"
        raise Interrupted(error.number, message) from None
    readable = [path for path in paths if keys[path] in found]
    values, hashes = kept.gather([found[keys[path]] for path in readable])
    return FolderFeatures(readable, values, hashes, bad)


def _key(folder: Path, path: Path) -> bytes:
    """Return what is equal as long as a file has not changed: name, size and time; reading all of them would take minutes."""
    try:
        status = path.stat()
        text = f"{path.relative_to(folder)}\n{status.st_size}\n{status.st_mtime_ns}"
    except OSError:
        text = f"{path.relative_to(folder)}\n"
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:KEY_BYTES]


class _Batch(NamedTuple):
    """Photos that were read, their features (n, D), and their hashes."""

    paths: list[Path]
    values: NDArray[np.float32]
    hashes: list[bytes]


class _HashedPhotos(Photos):
    """Photos that also get a perceptual hash, by path, of all that is in them: the network may see its middle alone."""

    def __init__(self, paths: Sequence[Path], params: PredictParams, reader: PhotoReader):
        super().__init__(paths, params, reader)
        self.hashes: dict[Path, bytes] = {}

    def _read_one(self, path: Path) -> ImageArray | str:
        reader = self.reader
        side = None if reader.preprocess else max(height_and_width(reader.image_size))
        try:
            image = read_as_stored(
                path.read_bytes(), self.max_pixels, side, form=reader.stored, resize=reader.resize, bands=reader.bands
            )
            self.hashes[path] = perceptual_hash(image) or bytes(HASH_BYTES)
            return reader.prepare(image)
        except (ImageError, OSError) as error:
            return str(error)


def _compute(
    backbone: Backbone, paths: Sequence[Path], params: PredictParams, batches: list[_Batch], advance: Callable[[int], None]
) -> list[tuple[Path, str]]:
    """Append the features of photos to `batches`, and return those that cannot be read."""
    from torch import from_numpy

    reader = PhotoReader.of(backbone.preprocessing, backbone.preprocess)
    photos = _HashedPhotos(paths, params.model_copy(update={"batch_size": BATCH_SIZE}), reader)
    count = 0
    for images in photos:
        values = backbone.features(from_numpy(images).permute(0, 3, 1, 2)).numpy()
        read = photos.read[count:]
        count = len(photos.read)
        batches.append(_Batch(read, values, [photos.hashes[path] for path in read]))
        advance(len(read))
    return photos.bad


Place = tuple[Path, int]
"""A file of `_Kept`, and the row in it."""


class _Kept:
    """Files with the features of a part of the photos each."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, wanted: set[bytes]) -> dict[bytes, Place]:
        """Return the places of the photos that are wanted; files with none of them, or damaged, are removed."""
        found: dict[bytes, Place] = {}
        for path in sorted(self.folder.glob("*.npz")):
            keys: list[bytes] = []
            with suppress(*DAMAGED), path.open("rb") as file, np.load(file, allow_pickle=False) as content:
                values = content["values"]  # all of it, which checks its checksum
                if values.dtype == np.float32 and len(content["hashes"]) == len(values) == len(content["keys"]):
                    keys = [row.tobytes() for row in content["keys"]]
            places = {key: (path, row) for row, key in enumerate(keys) if key in wanted}
            found |= places
            if not places:
                path.unlink(missing_ok=True)
        return found

    def write(self, batches: Sequence[_Batch], keys: Mapping[Path, bytes]) -> dict[bytes, Place]:
        """Write the features of photos, if there are any, and return their places by key."""
        written = [keys[path] for batch in batches for path in batch.paths]
        if not written:
            return {}
        path = self.folder / f"{hashlib.sha256(b''.join(written)).hexdigest()}.npz"
        hashes = b"".join(each for batch in batches for each in batch.hashes)
        keys_made = np.frombuffer(b"".join(written), np.uint8).reshape(-1, KEY_BYTES)
        values = np.concatenate([batch.values for batch in batches])
        hashes_made = np.frombuffer(hashes, np.uint8).reshape(-1, HASH_BYTES)
        with files.replaced_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, keys=keys_made, values=values, hashes=hashes_made)
        return {key: (path, row) for row, key in enumerate(written)}

    def gather(self, places: Sequence[Place]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return the features (n, D) and hashes (n, 32) at some places; each file is read once."""
        by_file: dict[Path, list[tuple[int, int]]] = {}
        for number, (path, row) in enumerate(places):
            by_file.setdefault(path, []).append((number, row))
        values, hashes = np.zeros((0, 0), np.float32), np.zeros((len(places), HASH_BYTES), np.uint8)
        for path, pairs in by_file.items():
            numbers, rows = (np.array(each) for each in zip(*pairs, strict=True))
            with np.load(path, allow_pickle=False) as content:
                if not values.size:
                    values = np.zeros((len(places), content["values"].shape[1]), np.float32)
                values[numbers], hashes[numbers] = content["values"][rows], content["hashes"][rows]
        return values, hashes
