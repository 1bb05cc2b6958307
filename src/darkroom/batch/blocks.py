"""Predictions of inputs, block by block. N images, K classes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.batch.accuracy import Right, right
from darkroom.batch.inputs import Inputs
from darkroom.batch.options import Options
from darkroom.hardware.imports import without_collecting
from darkroom.prediction.predictions import Predictions

if TYPE_CHECKING:
    from darkroom.inference.predictor import Predictor
    from darkroom.models.saving import Published


Unreadable = tuple[int, tuple[str, str] | None]
"""How many images cannot be read, and name and reason of the first."""


class Block(NamedTuple):
    """Predictions of some images, names and reasons of those that could not be read, and how many are right."""

    predictions: Predictions
    bad: list[tuple[str, str]]
    right: Right

    def __len__(self) -> int:
        return len(self.predictions.paths) + len(self.bad)


@dataclass(frozen=True)
class Blocks:
    """A model and what it predicts.

    Attributes
    ----------
    predictor
        The model.
    inputs
        What is predicted.
    params
        All of params.yaml.
    asked
        The flag that asks for embeddings, and the way out; None: nothing does.
    further
        What becomes of the predictions of each block, such as the nearest images added.
    """

    predictor: "Predictor"
    inputs: Inputs
    params: Params
    asked: tuple[str, str] | None = None
    further: Callable[[Predictions], Predictions] = lambda predictions: predictions

    def iterate(self, start: int = 0) -> Iterator[Block]:
        """Yield blocks of a batch each, from a multiple of `predict.batch_size` on."""
        from darkroom.inference.predict import batch_probabilities, with_tta
        from darkroom.prediction.inputs import Describing

        predictor = self.predictor
        network = with_tta(predictor, self.params.predict.tta)
        describing = Describing(predictor, self.asked)
        num_classes = len(predictor.model.card.classes)
        for images, known, bad, is_labelled in self.inputs.read(predictor, start):
            probabilities = np.zeros((0, num_classes))
            for passed in describing.passing([] if images is None else [images]):
                probabilities = batch_probabilities(network, passed, predictor.device, multilabel=predictor.model.multilabel)
                del passed
            del images  # the next ones need the memory
            predictions = self.further(describing.described(probabilities, known))
            yield Block(predictions, bad, right(predictions, is_labelled))

    def prepare(self) -> None:
        """Compute the first batch once more, so that the network is prepared with it as in a run that was not interrupted."""
        for block in self.iterate():
            if block.predictions.paths:
                return


def open_blocks(
    inputs: Inputs,
    model: Callable[[], "Published"],
    params: Params,
    options: Options,
    *,
    asked: tuple[str, str] | None = None,
) -> Blocks:
    """Open a model for inputs.

    Parameters
    ----------
    inputs
        What is predicted; it was found before torch is imported, which takes seconds.
    model
        Opens it.
    params, options
        params.yaml, and what was given in its place.
    asked
        See `Blocks`.

    Raises
    ------
    InputError
        If the model does not exist, or does not fit the options or the inputs.
    """
    with without_collecting():
        from darkroom.inference.predictor import Predictor
    from darkroom.prediction.inputs import Describing

    def opened() -> "Published":
        published = model()
        options.check_task(published.card.task)
        return published

    params = options.changed(params)
    predictor = Predictor.load(opened, params, "predict")
    options.apply(predictor)
    if asked:
        Describing(predictor, asked)  # refuses a network without features now
    return Blocks(predictor, inputs, params, asked)


def check_unreadable(count: int, first: tuple[str, str] | None, most: int) -> None:
    """Raise InputError if more than `most` images could not be read, `first` being the first of them, with the reason."""
    if first is not None and count > most:
        more = f" (and {count - 1} more)" if count > 1 else ""
        raise InputError(f"{first[0]}: cannot be read ({first[1]}){more}; fix or remove it, or raise predict.max_bad")
