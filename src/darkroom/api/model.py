"""A trained model from Python: `from darkroom import Model`; docs/api.md shows it. N images, K classes, D features."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.api.images import in_batches, paths_of, read, several
from darkroom.api.named_model import open_model
from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import PredictParams
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.overrides import with_settings
from darkroom.export.network import about
from darkroom.inference.embeddings import Embedder
from darkroom.inference.photos import PhotoReader
from darkroom.inference.predict import iterate_probabilities
from darkroom.inference.predictor import Predictor
from darkroom.inference.tta import TTAModel
from darkroom.prediction.predictions import Predictions

WHERE = "Model.load"
# Of section predict: what the stage reads and writes.
NO_EFFECT = ("input", "top_k", "embeddings", "max_bad")


class Prediction(list[tuple[str, float]]):
    """The classes of an image with their probabilities, as (class, probability): the most probable first.

    Of a binary task the predicted class comes first, which the threshold can make the less probable one.

    Attributes
    ----------
    chosen : list of str
        What the model decides for: one class, or of several labels any number; `["unknown"]` where it abstains.
    why : list of str
        Why it abstains: `uncertain`, `foreign` (an image of no trained class) or both; empty if it does not.
    path : str or None
        Of the image, if it was a file.
    """

    def __init__(self, ranked: Sequence[tuple[str, float]], chosen: list[str], why: list[str], path: str | None = None):
        super().__init__(ranked)
        self.chosen, self.why, self.path = chosen, why, path


class Model:
    """A trained model that predicts as `./darkroom predict` does.

    An image is a file, its bytes, an image of Pillow, an array (H, W) or (H, W, 3) uint8, or a tensor (H, W) or (3, H, W).
    Several are a folder, a batch (N, H, W, 3) or (N, 3, H, W), or anything that can be iterated: computed in batches of
    `predict.batch_size`, and returned as a list; of an iterator, such as a generator, as an iterator, one batch at a time.

    Parameters
    ----------
    predictor
        The model with its backend, precision and calibration.
    params
        Section `predict` of params.yaml.

    Attributes
    ----------
    classes : list of K str
    """

    def __init__(self, predictor: Predictor, params: PredictParams):
        self.predictor, self.params = predictor, params
        self.classes = list(predictor.model.card.classes)
        self._reader = PhotoReader.of(predictor.seen, predictor.preprocess)
        self._network = predictor if params.tta == "none" else TTAModel(predictor, params.tta)

    @classmethod
    def load(cls, name: str | Path | None = None, *, settings: Mapping[str, Any] | None = None) -> Self:
        """Open a model.

        Parameters
        ----------
        name
            A folder of a model.json, a commit or experiment, a registered model (`name@v1.0.0`, `name@stage`), a file of weights
            for the network of params.yaml, or a network of timm with its published weights; None: models/ of this repository.
        settings
            Values by dotted key, such as `{"predict.tta": "flip", "hardware.accelerator": "cpu"}`, as after `-S`; all others are
            those of params.yaml.

        Raises
        ------
        InputError
            If there is no such model, it is damaged, or a setting is wrong or has no effect here.
        RunError
            If the weights of a network of timm cannot be downloaded.
        """
        for key in settings or {}:
            section, _, rest = key.partition(".")
            if rest.partition(".")[0] in NO_EFFECT and section == "predict":
                raise InputError(f"{WHERE}: settings: {key} has no effect on a model in Python; leave it out")
        params = check_params(with_settings(read_yaml(paths.PARAMS), dict(settings or {})))
        named = None if name is None else str(name)
        return cls(Predictor.load(lambda: open_model(named, params, "predict", WHERE), params, "predict"), params.predict)

    def __repr__(self) -> str:
        """Return its name and its number of classes."""
        return f"Model({self.predictor.model.name!r}, {len(self.classes)} classes)"

    @property
    def about(self) -> dict[str, Any]:
        """Classes, task, thresholds, temperature, size of the images, and hashes, as `about.json` of an export has them."""
        return {**about(self.predictor), "tta": self.params.tta}

    def predict(self, images: Any) -> Any:
        """Return a `Prediction` for an image, or a list or an iterator of them for several.

        Raises
        ------
        InputError
            If an image cannot be read.
        """
        return self._each(images, self._predicted)

    def probabilities(self, images: Any) -> Any:
        """Return the calibrated probabilities (K,) of an image in the order of `classes`, (N, K) of several; errors as above."""
        return _stacked(self._each(images, self._probabilities), lambda: len(self.classes))

    def embed(self, images: Any) -> Any:
        """Return the features (D,) before the last layer of an image, (N, D) of several; of an iterator an iterator of (D,).

        Raises
        ------
        InputError
            If an image cannot be read, or the network has no last layer of its own.
        """
        return _stacked(
            self._each(images, lambda batch, _: list(self._embedder.features(batch).numpy())), lambda: self._embedder.num_features
        )

    @cached_property
    def _embedder(self) -> Embedder:
        return Embedder(self.predictor, ("Model.embed", "load another model"))

    def _each(self, images: Any, compute: Callable[[torch.Tensor, list[str | None]], list[Any]]) -> Any:
        """Return what is computed for one image, a list of it for several, an iterator for an iterator."""
        every = several(images, has_bands=self._reader.bands is not None)
        if every is None:
            (found,) = compute(self._read(0, [images]), paths_of([images]))
            return found
        batches = in_batches(every, self.params.batch_size)
        found = (each for start, batch in batches for each in compute(self._read(start, batch), paths_of(batch)))
        return found if isinstance(images, Iterator) else list(found)

    def _read(self, start: int, images: list[Any]) -> torch.Tensor:
        """Return a batch (n, C, height, width)."""
        numbered = list(enumerate(images, start))
        with ThreadPoolExecutor() as threads:
            fitted = list(threads.map(lambda each: read(each[1], each[0], self._reader, self.params.max_pixels), numbered))
        return torch.from_numpy(np.stack(fitted)).permute(0, 3, 1, 2)

    def _described(self, batch: torch.Tensor) -> Predictions:
        """Return the predictions of a batch, as `./darkroom predict` has them."""
        (probabilities,) = iterate_probabilities(
            self._network, [batch], self.predictor.device, total=None, multilabel=self.predictor.model.multilabel
        )
        rule = self.predictor.rule
        features = self._embedder.features(batch).numpy() if rule.needs_features else None
        return Predictions(paths=[], **rule.predicted(probabilities, features), **self.predictor.about)

    def _probabilities(self, batch: torch.Tensor, _: list[str | None]) -> list[NDArray[np.float64]]:
        return list(self._described(batch).probabilities)

    def _predicted(self, batch: torch.Tensor, names: list[str | None]) -> list[Prediction]:
        found = self._described(batch)
        every = list(found.most_probable(len(self.classes)))
        chosen = (
            found.chosen if found.multilabel else [[found.named(number, ranked[0][0])] for number, ranked in enumerate(every)]
        )
        return [Prediction(ranked, chosen[number], found.why(number), names[number]) for number, ranked in enumerate(every)]


def _stacked(found: Any, size: Callable[[], int]) -> Any:
    """Return a list of arrays as one, (N, `size()`); anything else as it is."""
    if not isinstance(found, list):
        return found
    return np.stack(found) if found else np.zeros((0, size()), np.float32)
