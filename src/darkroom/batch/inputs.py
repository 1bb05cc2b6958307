"""Inputs of a prediction, read batch by batch from any of their images on. N images, C channels, H by W pixels."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from darkroom.base import files, paths
from darkroom.base.params import Params
from darkroom.batch.listing import Listing
from darkroom.batch.photos import Photo, iterate_photos
from darkroom.data.images import ImageArray, ImageError
from darkroom.inference.photos import PhotoReader, read_batches
from darkroom.prediction.find_photos import NAMED, check_any_image
from darkroom.prediction.inputs import described_rows, is_test_split, read_test_split

if TYPE_CHECKING:
    from torch import Tensor

    from darkroom.inference.predictor import Predictor

# Threads that wait for a network.
NETWORK_THREADS = 16


class Read(NamedTuple):
    """Some images that were read together."""

    images: "Tensor | None"
    """(n, C, H, W); None if none of them could be read."""
    known: dict[str, Any]
    """Fields of `Predictions` for these n."""
    bad: list[tuple[str, str]]
    """Names of those that cannot be read, with the reasons."""
    is_labelled: list[bool] | None = None
    """Which of the n have a label; None: see `blocks.right`."""


class Inputs(Protocol):
    """What is predicted."""

    digest: str
    """SHA-256 of what they are."""
    has_labels: bool
    """Whether the class of any of them is known."""
    in_parts: bool
    """Whether results can be written in parts."""

    def total(self, predictor: "Predictor") -> int | None:
        """Return the number of images, None if it is not known."""

    def read(self, predictor: "Predictor", start: int) -> Iterator[Read]:
        """Yield batches of `predict.batch_size` images, from a multiple of it on."""


def find_inputs(chosen: Sequence[str | Path], params: Params) -> Inputs:
    """Return what is named: data/split alone is its test split; all else is listed, see `Listing`."""
    return TestSplit(params) if is_test_split(chosen) else PhotoInputs(Listing(chosen, params.download.columns), params)


class PhotoInputs:
    """Images of a list."""

    in_parts = True

    def __init__(self, listing: Listing, params: Params):
        self.listing, self.params = listing, params
        self.digest, self.has_labels = listing.digest, listing.has_labels
        _check_named(listing)

    def total(self, predictor: "Predictor") -> int | None:
        """Return the number of images, None if it is not known."""
        return self.listing.total(arrays=predictor.seen.bands is not None)

    def read(self, predictor: "Predictor", start: int) -> Iterator[Read]:
        """Yield batches, read and decoded in threads while the caller computes."""
        from torch import from_numpy

        reader = PhotoReader.of(predictor.seen, predictor.preprocess)
        most_pixels = self.params.predict.max_pixels

        def read_one(photo: Photo) -> ImageArray | str:
            try:
                return reader(photo.read(), most_pixels)
            except (ImageError, OSError) as error:
                return str(error)

        arrays = predictor.seen.bands is not None
        batches = read_batches(
            iterate_photos(self.listing, self.params.download, arrays=arrays, start=start),
            self.params.predict.batch_size,
            read_one,
            num_threads=NETWORK_THREADS if self.listing.has_addresses else None,
            num_bytes=lambda photo: photo.num_bytes,
        )
        for images, photos, bad in batches:
            known: dict[str, Any] = {"paths": [photo.name for photo in photos]}
            if self.has_labels:
                known["actual"] = [photo.label or "" for photo in photos]
            unread = [(photo.name, reason) for photo, reason in bad]
            tensor = None if images is None else from_numpy(images).permute(0, 3, 1, 2)
            yield Read(tensor, known, unread, [photo.label is not None for photo in photos])
            del tensor
            del images  # the next ones need the memory


def _check_named(listing: Listing) -> None:
    """Refuse files that are named and are no images, before a model is loaded; of a long list the first are not looked at."""
    first = list(islice(listing.entries(arrays=True), NAMED + 1))
    if all(entry.kind == "file" and entry.is_named for entry in first):
        check_any_image([Path(entry.name) for entry in first])


class TestSplit:
    """The test split of data/split, which has labels."""

    __test__ = False  # no test of pytest's
    has_labels = True
    in_parts = False  # images may differ in what else is known of them, which are columns

    def __init__(self, params: Params):
        self.params = params
        self.pack, self.split, ids = read_test_split()
        self.rows, self.count = self.split.rows["test"], len(ids)
        self.digest = f"{files.sha256(paths.RAW / 'dataset.json')} {self.split.sha256}"

    def total(self, predictor: "Predictor") -> int:
        """Return the number of images, after checking that they are of the data that the model was trained on."""
        from darkroom.models.model_json import data_hashes

        predictor.model.check_data(data_hashes(paths.RAW, self.split))
        return self.count

    def read(self, predictor: "Predictor", start: int) -> Iterator[Read]:
        """Yield batches."""
        from darkroom.input.dataset import ImageDataset
        from darkroom.input.loaders import make_loader, num_readers
        from darkroom.input.samplers import SequentialBatchSampler

        images = ImageDataset.for_network(self.pack, predictor.seen, predictor.preprocess)
        readers = num_readers(predictor.hardware, images, on_gpu=predictor.device.type == "cuda")
        rows = self.rows[start:]
        order = SequentialBatchSampler(rows, batch_size=self.params.predict.batch_size)
        done = 0
        for batch in make_loader(images, order, readers=readers):
            count = len(batch["images"])
            yield Read(batch["images"], described_rows(self.pack, rows[done : done + count]), [])
            done += count
