"""A model that answers: from the bytes of files to what `./darkroom predict` says of them. N images, K classes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from darkroom.base.params import Params
from darkroom.data.images import ImageArray
from darkroom.hardware.devices import use_threads
from darkroom.inference.embeddings import Embedder
from darkroom.inference.photos import PhotoReader
from darkroom.inference.predict import batch_probabilities
from darkroom.inference.predictor import Predictor
from darkroom.inference.tta import TTAModel
from darkroom.prediction.further_columns import doubt
from darkroom.prediction.predictions import Predictions

if TYPE_CHECKING:
    from darkroom.models.saving import Published

# Images that warm a backend that takes batches of any size.
WARM = 8


class Served:
    """A model, loaded and warm.

    Parameters
    ----------
    name
        What requests call it.
    open_model
        Opens it.
    params
        All of params.yaml; sections `predict` and `hardware` count.
    batch_size
        Images of the largest batch, with which the backend is prepared.
    version
        Of Darkroom.
    """

    def __init__(self, name: str, open_model: "Callable[[], Published]", params: Params, batch_size: int, version: str):
        self.name, self.params, self.version = name, params, version
        self.predictor = predictor = Predictor.load(open_model, params, "predict")
        self.read = PhotoReader.of(predictor.seen, predictor.preprocess)
        self._network: Any = predictor if params.predict.tta == "none" else TTAModel(predictor, params.predict.tta)
        self._embedder = Embedder(predictor) if predictor.rule.needs_features else None
        self.threads = predictor.model.card.threads
        self._warm(batch_size)

    @property
    def classes(self) -> list[str]:
        """The K class names."""
        return self.predictor.model.card.classes

    @property
    def multilabel(self) -> bool:
        """Whether an image has any number of classes."""
        return self.predictor.model.multilabel

    @property
    def identity(self) -> dict[str, str]:
        """Which model answers: part of every answer."""
        return {"name": self.name, "weights_sha256": self.predictor.model.card.weights_sha256, "version": self.version}

    @property
    def about(self) -> dict[str, Any]:
        """All that is told of it."""
        card, seen = self.predictor.model.card, self.predictor.seen
        backend = self.predictor.about["backend"]
        told = {"title": self.predictor.model.name, "task": card.task, "image_size": list(seen.shape), "channels": seen.channels}
        return {**self.identity, **told, "classes": card.classes, "backend": backend}

    def predict(self, images: Sequence[ImageArray]) -> list[dict[str, Any]]:
        """Return for each image, (H, W, C) as `read` makes it, what is said of it, and below `top` all of its classes.

        Raises
        ------
        RunError
            If a logit is NaN or infinite, or the batch does not fit in the device's memory.
        """
        use_threads(self.threads)  # another model may have been trained with another number
        batch, predictor = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), self.predictor
        probabilities = batch_probabilities(self._network, batch, predictor.device, multilabel=self.multilabel)
        features = self._embedder.features(batch).numpy() if self._embedder else None
        found = Predictions(paths=[""] * len(images), **predictor.rule.predicted(probabilities, features), **predictor.about)
        chosen = found.chosen if self.multilabel else []
        answers = []
        for number, top in enumerate(found.most_probable(len(self.classes))):
            several = {"classes": chosen[number]} if self.multilabel else {}
            first = {"class": found.named(number, top[0][0]), "probability": top[0][1]}
            ranked = {"top": [{"class": name, "probability": value} for name, value in top]}
            answers.append({**several, **first, **ranked, **doubt(found, number)})
        return answers

    def _warm(self, batch_size: int) -> None:
        """Compute a batch and one image: kernels are chosen, memory is there, and a backend that compiles has done so."""
        count = batch_size if self.params.predict.backend == "torch.compile" else min(batch_size, WARM)
        self.predict(self.noise(count))
        self.predict(self.noise(1))

    def noise(self, count: int) -> list[ImageArray]:
        """Return images as `read` makes them, (H, W, C), of noise."""
        seen, numbers = self.predictor.seen, np.random.default_rng(0)
        shape = (count, *seen.shape, seen.channels)
        return list(numbers.integers(0, 256, shape, np.uint8) if seen.dtype == "uint8" else numbers.random(shape, np.float32))
