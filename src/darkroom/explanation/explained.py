"""Images with what explains their predictions: heat, and the nearest training images. N images, C channels, K classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from darkroom.base.errors import InputError, warn
from darkroom.data.labels import Labels, names
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.explanation.features import picture_of
from darkroom.explanation.mistakes import NONE, heat_or_warning
from darkroom.explanation.overlay import Picture, image_and_overlay
from darkroom.features.backbone import backbone_of
from darkroom.features.extract import pack_features
from darkroom.features.neighbours import nearest
from darkroom.inference.embeddings import Embedder
from darkroom.inference.predict import iterate_probabilities
from darkroom.inference.predictor import Predictor
from darkroom.inference.tta import TTAModel
from darkroom.metrics.decision import Probabilities

TOP = 3  # classes that are named


@dataclass(frozen=True)
class Near:
    """A training image that is near.

    Attributes
    ----------
    name
        Its id.
    label
        Its classes.
    similarity
        Cosine between the features.
    image
        What the network sees of it.
    """

    name: str
    label: str
    similarity: float
    image: Picture


@dataclass(frozen=True)
class Explained:
    """An image and what explains its prediction.

    Attributes
    ----------
    name
        Path or id.
    image, drawn
        What the network sees, and the same with heat, if it has any.
    explained
        The class that the heat speaks for.
    predicted
        The predicted classes.
    probable
        The most probable classes, with their probabilities.
    actual
        The true classes, if they are known.
    near
        The nearest training images, the nearest first.
    """

    name: str
    image: Picture
    drawn: Picture | None
    explained: str
    predicted: str
    probable: list[tuple[str, float]]
    actual: str | None = None
    near: list[Near] = field(default_factory=list)


@dataclass(frozen=True)
class Inputs:
    """Images to explain.

    Attributes
    ----------
    names
        N paths or ids.
    batches
        The images (n, C, H, W), as the network is given them.
    actual
        N texts of true classes, if they are known.
    tta
        `predict.tta`, by which probabilities are computed, but not the heat.
    """

    names: Sequence[str]
    batches: Sequence[Tensor]
    actual: Sequence[str] | None = None
    tta: str = "none"


@dataclass(frozen=True)
class Training:
    """The images that the model was trained on, and how many of the nearest to show."""

    pack: Pack
    split: Split
    count: int


def explain(predictor: Predictor, inputs: Inputs, wanted: int | None = None, training: Training | None = None) -> list[Explained]:
    """Return what explains the predictions of images.

    Parameters
    ----------
    predictor
        The model.
    inputs
        The images.
    wanted
        Label of the class that heat is drawn for; None: the most probable one of each image.
    training
        The training images, to show the nearest of them.
    """
    card, multilabel = predictor.model.card, predictor.model.multilabel
    probabilities = _probabilities(predictor, inputs)
    decision = predictor.decision
    predicted: Labels = decision.chosen(probabilities).astype(np.uint8) if multilabel else decision.label(probabilities)
    best = probabilities.argmax(axis=1) if multilabel else predicted
    classes = np.full(len(best), wanted) if wanted is not None else np.asarray(best, np.int64)
    texts = names(predicted, card.classes)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    images = [image for batch in inputs.batches for image in batch]
    heat = _heat(predictor, inputs, classes)
    near = _nearest(predictor, inputs, training)
    found = []
    for place, image in enumerate(images):
        shown, drawn = image_and_overlay(picture_of(image), None if heat is None else heat[place])
        found.append(
            Explained(
                name=inputs.names[place],
                image=shown,
                drawn=drawn,
                explained=card.classes[classes[place]],
                predicted=texts[place] or NONE,
                probable=[(card.classes[label], float(probabilities[place, label])) for label in order[place]],
                actual=inputs.actual[place] if inputs.actual is not None else None,
                near=near[place],
            )
        )
    return found


def _probabilities(predictor: Predictor, inputs: Inputs) -> Probabilities:
    """Return the probabilities (N, K), as predict writes them."""
    network = predictor if inputs.tta == "none" else TTAModel(predictor, inputs.tta)
    multilabel = predictor.model.multilabel
    parts = iterate_probabilities(network, inputs.batches, predictor.device, total=len(inputs.batches), multilabel=multilabel)
    found: Probabilities = predictor.rule.predicted(np.concatenate(list(parts)))["probabilities"]
    return found


def _heat(predictor: Predictor, inputs: Inputs, classes: Any) -> Any:
    """Return the heat (N, H, W), or None where the network has none."""
    ends = np.cumsum([len(batch) for batch in inputs.batches])[:-1]
    parts = []
    for batch, labels in zip(inputs.batches, np.split(classes, ends), strict=True):
        part = heat_or_warning(predictor, batch, labels)
        if part is None:
            return None
        parts.append(part)
    return np.concatenate(parts)


def _nearest(predictor: Predictor, inputs: Inputs, training: Training | None) -> list[list[Near]]:
    count = sum(map(len, inputs.batches))
    if training is None:
        return [[] for _ in range(count)]
    pack, known = training.pack, training.split.rows["train"]
    try:
        features = pack_features(backbone_of(predictor), pack, known)
        embedder = Embedder(predictor, (predictor.model.name, "name another model"))
        for _ in embedder.passing(inputs.batches):
            pass
    except InputError as error:
        warn(f"explain: no nearest training images: {error}")
        return [[] for _ in range(count)]
    found = zip(*nearest(embedder.result(), features, training.count), strict=True)
    return [
        [Near(*_described(pack, row), value, _shown(pack, row)) for value, row in zip(values.tolist(), known[rows], strict=True)]
        for values, rows in found
    ]


def _described(pack: Pack, row: int) -> tuple[str, str]:
    return pack.ids[row], names(pack.labels[row : row + 1], pack.classes)[0] or NONE


def _shown(pack: Pack, row: int) -> Picture:
    return image_and_overlay(pack.shown(row), None)[0]
