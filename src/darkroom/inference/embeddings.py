"""`predict.embeddings`: the features of images before a network's last layer. N images, C channels, H by W pixels, D features."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from darkroom.base.errors import InputError
from darkroom.inference.predictor import Predictor
from darkroom.models.layers import head_name
from darkroom.models.preprocessing import Normalized
from darkroom.models.probe_network import Probe


class Embedder:
    """Records the input of a network's last layer for all images that pass.

    They are computed by torch in full precision, whatever backend and precision compute the logits.

    Parameters
    ----------
    predictor
        With the network.

    Raises
    ------
    InputError
        If the network has no last layer of its own.
    """

    def __init__(self, predictor: Predictor):
        network = predictor.model.network
        assert isinstance(network, Normalized)
        self.name, self.device = type(network.network).__name__, predictor.device
        if not head_name(network.network):
            raise self._unfit()
        self.probe = Probe(network.network, predictor.seen).to(self.device)
        self._parts: list[Tensor] = []

    def passing(self, images: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield batches (n, C, H, W), after recording their features."""
        for batch in images:
            try:
                with torch.inference_mode():
                    features = self.probe.features(batch.to(self.device))
            except InputError:
                raise self._unfit() from None
            self._parts.append(features.flatten(2).mean(dim=2).float().cpu() if features.ndim > 2 else features.float().cpu())
            yield batch

    def result(self) -> NDArray[np.float32]:
        """Return the features (N, D); those of a last convolution are means over its places."""
        return torch.cat(self._parts).numpy() if self._parts else np.zeros((0, 0), np.float32)

    def _unfit(self) -> InputError:
        return InputError(
            f"params.yaml: predict.embeddings: {self.name} has no single last layer whose input could be written; set it to false"
        )
