"""Fitting what tells images of no trained class, while evaluate predicts. N images, D features."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from darkroom.base.errors import InputError
from darkroom.evaluation.written_predictions import Images
from darkroom.inference.embeddings import Embedder
from darkroom.inference.predictor import Predictor
from darkroom.metrics.decision import UNKNOWN
from darkroom.uncertainty.foreign import KEY, ForeignDetector, fit_directions, training_sample, with_limit


class ForeignImages:
    """Fits a detector on training images, measures all images that pass, and sets its limit on those of `val`.

    Parameters
    ----------
    predictor
        With the network.
    train
        The training images.
    false_alarms
        `evaluate.false_alarms`.
    batch_size
        Images that go through the network at once.

    Raises
    ------
    InputError
        If the network has no single last layer, or an image any number of classes, or a class is called `unknown`.
    """

    def __init__(self, predictor: Predictor, train: Images, false_alarms: float, batch_size: int):
        if predictor.model.multilabel:
            raise InputError(f"{KEY}: is {false_alarms}, but an image has any number of classes, also none; set it to null")
        if UNKNOWN in predictor.model.card.classes:
            raise InputError(
                f"{KEY}: predicts '{UNKNOWN}' for images of no trained class, but a class is called so; rename the class"
            )
        self.false_alarms, self.num_classes = false_alarms, len(predictor.model.card.classes)
        self._embedder = Embedder(predictor, ("params.yaml: evaluate.false_alarms", "set it to null"))
        chosen = training_sample(train.labels, self.num_classes)
        features = self._embedder.of_rows(train.pack, train.rows[chosen], batch_size)
        self.detector = fit_directions(features, train.labels[chosen])
        self._raw: dict[str, list[NDArray[np.float64]]] = {}

    def passing(self, name: str, images: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield batches (n, C, H, W) of a split, after measuring them."""
        for batch in images:
            self._raw.setdefault(name, []).append(self.detector.raw(self._embedder.features(batch).numpy()))
            yield batch

    def finish(self) -> tuple[ForeignDetector, dict[str, NDArray[np.float64]]]:
        """Return the detector with its limit, and for each split the distances (N,) in units of it."""
        raw = {name: np.concatenate(parts) for name, parts in self._raw.items()}
        detector = with_limit(self.detector, raw["val"], self.false_alarms)
        return detector, {name: each / detector.limit for name, each in raw.items()}
