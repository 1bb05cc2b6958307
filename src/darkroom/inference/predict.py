"""Probabilities of a trained network for images, without Lightning. N images, K classes."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.base.errors import RunError
from darkroom.data.images import ImageArray
from darkroom.data.pack import Pack, Rows
from darkroom.inference.backends import Network
from darkroom.inference.photos import PhotoReader, Photos
from darkroom.inference.predictor import Predictor
from darkroom.inference.tta import TTAModel
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import make_loader, num_readers
from darkroom.input.samplers import SequentialBatchSampler

Probabilities = NDArray[np.float64]


def iterate_probabilities(
    network: Network, batches: Iterable[Tensor], device: torch.device, *, total: int | None, multilabel: bool = False
) -> Iterator[Probabilities]:
    """Yield the probability of every class for the images of each batch.

    Parameters
    ----------
    network
        From (n, C, H, W) uint8 to logits (n, K), in evaluation mode.
    batches
        Images (n, C, H, W) uint8.
    device
        The device of the network.
    total
        Number of batches, for the progress bar; None: there is none.
    multilabel
        Whether an image may have any number of classes.

    Yields
    ------
    probabilities : (n, K) float64
        Each row sums to 1, unless `multilabel`.

    Raises
    ------
    RunError
        If a batch does not fit in the device's memory, or a logit is NaN or infinite.
    """
    for images in _shown(batches, total):
        yield batch_probabilities(network, images, device, multilabel=multilabel)


def _shown(batches: Iterable[Tensor], total: int | None) -> Iterable[Tensor]:
    """Show a progress bar on a terminal."""
    if total is None or not sys.stdout.isatty():
        return batches
    from rich.console import Console
    from rich.progress import track

    return track(batches, "images", total, console=Console(), transient=True)


@torch.inference_mode()
def batch_probabilities(network: Network, images: Tensor, device: torch.device, *, multilabel: bool = False) -> Probabilities:
    """Return the probabilities (n, K) of one batch, as `iterate_probabilities` yields them."""
    try:
        # Softmax in double precision on the CPU, so that rows sum to 1 and ties are the same on every device.
        logits = network(images.to(device)).cpu().double()
    except torch.OutOfMemoryError:
        raise RunError("batch_size: a batch does not fit in the device's memory; lower it in params.yaml") from None
    if not torch.isfinite(logits).all():
        raise RunError("models/model.safetensors: its logits are NaN or infinite; train with a lower train.lr or 32-true")
    probabilities: Probabilities = (logits.sigmoid() if multilabel else logits.softmax(dim=1)).numpy()
    return probabilities


Passing = Callable[[Iterable[Tensor]], Iterable[Tensor]]
"""What sees the batches on their way to the network."""


def iterate_rows(
    predictor: Predictor, pack: Pack, rows: Rows, *, batch_size: int, tta: str = "none", passing: Passing = iter
) -> Iterator[Probabilities]:
    """Yield the probabilities (n, K) of rows of the pack, batch by batch; each of them is read once."""
    images = ImageDataset.for_network(pack, predictor.seen, predictor.preprocess)
    readers = num_readers(predictor.hardware, images, on_gpu=predictor.device.type == "cuda")
    loader = make_loader(images, SequentialBatchSampler(rows, batch_size=batch_size), readers=readers)
    return _iterate(predictor, passing(batch["images"] for batch in loader), len(loader), tta)


def predict_rows(
    predictor: Predictor, pack: Pack, rows: Rows, *, batch_size: int, tta: str = "none", passing: Passing = iter
) -> Probabilities:
    """Return the probabilities (len(rows), K) of rows of the pack."""
    return _joined(predictor, iterate_rows(predictor, pack, rows, batch_size=batch_size, tta=tta, passing=passing))


def iterate_photos(
    predictor: Predictor, photos: Photos, *, tta: str = "none", passing: Passing = iter
) -> Iterator[Probabilities]:
    """Yield the probabilities (n, K) of images from files, batch by batch."""
    images = (torch.from_numpy(batch).permute(0, 3, 1, 2) for batch in photos)
    return _iterate(predictor, passing(images), len(photos), tta)


def predict_photos(predictor: Predictor, photos: Photos, *, tta: str = "none") -> Probabilities:
    """Return the probabilities (len(photos.read), K) of images from files."""
    return _joined(predictor, iterate_photos(predictor, photos, tta=tta))


def predict_images(predictor: Predictor, images: Sequence[ImageArray], *, batch_size: int, tta: str = "none") -> Probabilities:
    """Return the probabilities (len(images), K) of images (H, W) or (H, W, C), prepared as photos are."""
    fitted = map(PhotoReader.of(predictor.seen, predictor.preprocess).prepare, images)
    batches = (
        torch.from_numpy(np.stack(list(islice(fitted, batch_size)))).permute(0, 3, 1, 2)
        for _ in range(0, len(images), batch_size)
    )
    return _joined(predictor, _iterate(predictor, batches, -(-len(images) // batch_size), tta))


def with_tta(predictor: Predictor, tta: str) -> Network:
    """Return the network with test-time augmentation, if there is any."""
    return predictor if tta == "none" else TTAModel(predictor, tta)


def _iterate(predictor: Predictor, images: Iterable[Tensor], total: int, tta: str) -> Iterator[Probabilities]:
    network = with_tta(predictor, tta)
    return iterate_probabilities(network, images, predictor.device, total=total, multilabel=predictor.model.multilabel)


def _joined(predictor: Predictor, parts: Iterable[Probabilities]) -> Probabilities:
    """Return the probabilities (N, K) of all batches together."""
    every = list(parts)
    return np.concatenate(every) if every else np.zeros((0, len(predictor.model.card.classes)))
