"""The features of images before a network's last layer. N images, C channels, H by W pixels, D features."""

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
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

ASKED = ("params.yaml: predict.embeddings", "set it to false")


class Embedder:
    """Records the input of a network's last layer for all images that pass.

    They are computed by torch in full precision, whatever backend and precision compute the logits.

    Parameters
    ----------
    predictor
        With the network.
    asked
        Key or flag that asks for them, and the way out, for messages.

    Attributes
    ----------
    pooled : bool
        Whether they are means over the places of the last layer's input, known after the first images.

    Raises
    ------
    InputError
        If the network has no last layer of its own.
    """

    def __init__(self, predictor: Predictor, asked: tuple[str, str] = ASKED):
        self.asked = asked
        network = predictor.model.network
        assert isinstance(network, Normalized)
        self.predictor = predictor
        self.name, self.device = type(network.network).__name__, predictor.device
        if not head_name(network.network):
            raise self._unfit()
        self.probe = Probe(network.network, predictor.seen).to(self.device)
        self.pooled = False
        self._parts: list[Tensor] = []

    def passing(self, images: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield batches (n, C, H, W), after recording their features."""
        for batch in images:
            self._parts.append(self.features(batch))
            yield batch

    @torch.inference_mode()
    def features(self, batch: Tensor) -> Tensor:
        """Return the features (n, D) of a batch; those of a last convolution are means over its places."""
        try:
            features = self.probe.features(batch.to(self.device))
        except InputError:
            raise self._unfit() from None
        if features.ndim > 2:
            self.pooled = True
            features = features.flatten(2).mean(dim=2)
        return features.float().cpu()

    def of_rows(self, pack: Pack, rows: Rows, batch_size: int) -> NDArray[np.float32]:
        """Return the features (len(rows), D) of rows of the pack, without their logits."""
        images = ImageDataset.for_network(pack, self.predictor.seen, self.predictor.preprocess)
        readers = num_readers(self.predictor.hardware, images, on_gpu=self.device.type == "cuda")
        loader = make_loader(images, SequentialBatchSampler(rows, batch_size=batch_size), readers=readers)
        return torch.cat([self.features(batch["images"]) for batch in loader]).numpy()

    def result(self) -> NDArray[np.float32]:
        """Return the features (N, D) of all images since the last call."""
        parts, self._parts = self._parts, []
        return torch.cat(parts).numpy() if parts else np.zeros((0, self.num_features), np.float32)

    @cached_property
    def num_features(self) -> int:
        """D, which an image has to pass the network to tell."""
        seen = self.predictor.seen
        image = torch.zeros((1, seen.channels, *seen.shape), dtype=seen.image_dtype)
        return int(self.features(image).shape[1])

    def _unfit(self) -> InputError:
        who, way_out = self.asked
        return InputError(f"{who}: {self.name} has no single last layer whose input could be used; {way_out}")
