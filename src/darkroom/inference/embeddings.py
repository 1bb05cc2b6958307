"""The features of images before a network's last layer. N images, C channels, H by W pixels, D features."""

import sys
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from darkroom.base.errors import InputError
from darkroom.data.pack import Pack, Rows
from darkroom.inference.predictor import Predictor
from darkroom.input.dataset import ImageDataset
from darkroom.input.loaders import make_loader, num_readers
from darkroom.input.samplers import SequentialBatchSampler
from darkroom.models.layers import head_name
from darkroom.models.preprocessing import Normalized
from darkroom.models.probe_network import Probe
from darkroom.reporting.embeddings_file import Embeddings, FeaturesOf

KEY = "params.yaml: predict.embeddings"


class Embedder:
    """Records the input of a network's last layer for all images that pass.

    They are computed by torch in full precision, whatever backend and precision compute the logits.

    Parameters
    ----------
    predictor
        With the network.
    asked
        Key or flag that asks for them, for messages.

    Raises
    ------
    InputError
        If the network has no last layer of its own.
    """

    def __init__(self, predictor: Predictor, asked: str = KEY):
        self.asked = asked
        network = predictor.model.network
        assert isinstance(network, Normalized)
        self.name, self.device = features_of(predictor).network, predictor.device
        if not head_name(network.network):
            raise self._unfit()
        self.probe = Probe(network.network, predictor.seen).to(self.device)
        self._of = features_of(predictor)
        self._parts: list[Tensor] = []

    def passing(self, images: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield batches (n, C, H, W), after recording their features."""
        for batch in images:
            try:
                with torch.inference_mode():
                    features = self.probe.features(batch.to(self.device))
            except InputError:
                raise self._unfit() from None
            if features.ndim > 2:
                self._of = self._of._replace(pooled=True)
                features = features.flatten(2).mean(dim=2)
            self._parts.append(features.float().cpu())
            yield batch

    def result(self) -> NDArray[np.float32]:
        """Return the features (N, D) of all images since the last call; those of a last convolution are means over its places."""
        parts, self._parts = self._parts, []
        return torch.cat(parts).numpy() if parts else np.zeros((0, 0), np.float32)

    def embeddings(self) -> Embeddings:
        """Return the same, with what they are of."""
        return Embeddings(self.result(), self._of)

    def _unfit(self) -> InputError:
        advice = "set it to false" if self.asked == KEY else "name another model"
        return InputError(f"{self.asked}: {self.name} has no single last layer whose input could be written; {advice}")


def features_of(predictor: Predictor) -> FeaturesOf:
    """Return what the features of a model are of."""
    network, card = predictor.model.network, predictor.model.card
    assert isinstance(network, Normalized)
    return FeaturesOf(predictor.model.name, type(network.network).__name__, card.weights_sha256)


def iterate_features(
    predictor: Predictor, pack: Pack, rows: Rows, batch_size: int, asked: str | None = None
) -> Iterator[NDArray[np.float32]]:
    """Yield the features (n, D) of rows of the pack, batch by batch.

    Raises
    ------
    InputError
        If the network has no last layer of its own, or an image is damaged.
    """
    embedder = Embedder(predictor, asked or predictor.model.name)
    images = ImageDataset.for_network(pack, predictor.seen, predictor.preprocess)
    readers = num_readers(predictor.hardware, images, on_gpu=predictor.device.type == "cuda")
    loader = make_loader(images, SequentialBatchSampler(rows, batch_size=batch_size), readers=readers)
    shown = track(loader, "features", len(loader), console=Console(), transient=True, disable=not sys.stdout.isatty())
    for _ in embedder.passing(batch["images"] for batch in shown):
        yield embedder.result()
