"""A published model as one network from bytes to probabilities. N images, C channels, H by W pixels, K classes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.export.fitting import Fitted
from darkroom.hardware.folding import fold_batch_norm
from darkroom.inference.embeddings import Embedder
from darkroom.inference.predictor import Predictor
from darkroom.inference.tta import TTAModel
from darkroom.models.preprocessing import Normalized
from darkroom.uncertainty.foreign import ForeignDetector

FEW = 4
OUTPUTS = ("probabilities", "embedding", "foreign")


class Exported(nn.Module):
    """Crops, resizes and normalises images, computes the network, and returns calibrated probabilities and features.

    Parameters
    ----------
    network
        A network of `Normalized` images, and the name of its last layer, whose input is the embedding; empty: it has none.
    fitted
        Crops and resizes.
    temperature
        By which logits are divided.
    multilabel
        Whether an image has any number of classes.
    positive
        Label of the positive class of a binary task, whose network has one output.
    foreign
        Tells images of no trained class by their features; None: nothing does.
    """

    def __init__(
        self,
        network: tuple[nn.Module, str],
        fitted: Fitted,
        *,
        temperature: float,
        multilabel: bool,
        positive: int | None,
        foreign: ForeignDetector | None = None,
    ):
        super().__init__()
        self.fitted = fitted
        self.network, self.head_name = network
        self.temperature, self.multilabel, self.positive = temperature, multilabel, positive
        self.detector = _Distance(foreign) if foreign is not None and self.head_name else None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it returns."""
        return OUTPUTS[: 1 + bool(self.head_name) + (self.detector is not None)]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return what `outputs` names for images (N, H, W, 3) uint8 of any size, in float32.

        These are the probabilities (N, K), the features (N, D) before the last layer, and the distances (N,) from the images of
        training, above 1 for an image of no trained class.
        """
        logits, features = self._computed(self.fitted(images))
        if self.positive is not None:
            logits = functional.pad(logits, (self.positive, 1 - self.positive))
        logits = logits / self.temperature
        probabilities = (logits.sigmoid() if self.multilabel else logits.softmax(dim=1)).float()
        if features is None:
            return (probabilities,)
        return (probabilities, features, *([] if self.detector is None else [self.detector(features)]))

    def _computed(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits (N, outputs) in double precision, and the features of the images as they are, not of other views."""
        if not self.head_name:
            return self.network(images).double(), None
        given: list[Tensor] = []
        head = self.network.get_submodule(self.head_name)
        # The head may change its input in place.
        handle = head.register_forward_pre_hook(
            lambda _, inputs, named: given.append((*inputs, *named.values())[0].clone()), with_kwargs=True
        )
        try:
            logits: Tensor = self.network(images).double()
        finally:
            handle.remove()
        features = given[0]
        return logits, (features.flatten(2).mean(dim=2) if features.ndim > 2 else features).float()


class _Distance(nn.Module):
    """How far images are from those of training, as `ForeignDetector` computes it from features (N, D)."""

    directions: Tensor
    means: Tensor

    def __init__(self, detector: ForeignDetector):
        super().__init__()
        self.register_buffer("directions", torch.from_numpy(detector.directions).double())
        self.register_buffer("means", torch.from_numpy(detector.means).double())
        self.limit = detector.limit

    def forward(self, features: Tensor) -> Tensor:
        exact = features.double()
        lengths = (exact**2).sum(dim=1, keepdim=True).sqrt()
        places = exact / lengths.clamp(min=torch.finfo(torch.float32).tiny) @ self.directions
        squares = (places**2).sum(dim=1, keepdim=True) - 2 * places @ self.means.T + (self.means**2).sum(dim=1)
        return (squares.amin(dim=1).clamp(min=0).sqrt() / self.limit).float()


def make_exported(predictor: Predictor, tta: str = "none") -> Exported:
    """Return the network of a model as predict computes it, on the CPU in full precision, with the views of `predict.tta`.

    Raises
    ------
    InputError
        If what it does to images is not part of a network: `train.preprocess`, bands, 16 bits; or if it abstains by other
        probabilities than it gives.
    """
    seen, card = predictor.seen, predictor.model.card
    if seen.steps:
        names = ", ".join(step.target for step in seen.steps)
        raise InputError(f"{predictor.model.name}: was trained with train.preprocess ({names}), which is no part of a network")
    if seen.bands is not None or seen.dtype != "uint8" or seen.channels not in (1, 3):
        raise InputError(f"{predictor.model.name}: takes {seen.channels} bands of {seen.dtype}; only grey and RGB are exported")
    calibration = predictor.rule.calibration
    if calibration and calibration.abstain is not None and not predictor.rule.is_calibrated:
        raise InputError(
            "params.yaml: predict.calibrated: is false, but the model abstains by calibrated probabilities; set it to true"
        )
    network = predictor.model.network
    assert isinstance(network, Normalized)
    images = torch.zeros((FEW, seen.channels, *seen.shape), dtype=torch.uint8)
    head = _head_name(predictor, images)
    folded = fold_batch_norm(network.cpu().eval(), images)
    if tta != "none":
        folded, head = TTAModel(folded, tta), f"network.{head}" if head else ""
    return Exported(
        (folded, head),
        Fitted(seen.shape, seen.channels, seen.way),
        temperature=calibration.temperature if calibration and predictor.rule.is_calibrated else 1.0,
        multilabel=card.task == "multilabel",
        positive=card.positive,
        foreign=calibration.foreign if calibration else None,
    ).eval()


def _head_name(predictor: Predictor, images: Tensor) -> str:
    """Return the name of the layer whose input `predict --embeddings` writes, within a `Normalized` network; empty: none."""
    try:
        embedder = Embedder(predictor)
        embedder.features(images)
    except InputError:
        return ""
    return f"network.{embedder.probe.head_name}"


def about(predictor: Predictor) -> dict[str, Any]:
    """Return what a program needs beside the network: classes, how they are decided, and what the numbers belong to."""
    card, rule = predictor.model.card, predictor.rule
    return {
        "format": 1,
        "classes": card.classes,
        "task": card.task,
        "positive_class": card.positive_class,
        "threshold": rule.decision.threshold if card.task != "multiclass" else None,
        "abstain": rule.calibration.abstain if rule.calibration and card.task != "multilabel" else None,
        "temperature": rule.calibration.temperature if rule.calibration and rule.is_calibrated else 1.0,
        "resize": card.preprocessing.resize,
        "stored": card.preprocessing.stored,
        "image_size": list(card.preprocessing.shape),
        "weights_sha256": card.weights_sha256,
        "data_sha256": card.data_sha256,
        "licence": card.origin.licence if card.origin else None,
    }
