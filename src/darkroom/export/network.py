"""A published model as one network from bytes to probabilities. N images, C channels, H by W pixels, K classes."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.export.fitting import Fitted
from darkroom.hardware.folding import fold_batch_norm
from darkroom.inference.predictor import Predictor
from darkroom.models.preprocessing import Normalized

FEW = 4


class Exported(nn.Module):
    """Crops, resizes and normalises images, computes the network, and returns calibrated probabilities.

    Parameters
    ----------
    network
        A `Normalized` network.
    fitted
        Crops and resizes.
    temperature
        By which logits are divided.
    multilabel
        Whether an image has any number of classes.
    positive
        Label of the positive class of a binary task, whose network has one output.
    """

    def __init__(self, network: nn.Module, fitted: Fitted, *, temperature: float, multilabel: bool, positive: int | None):
        super().__init__()
        self.network, self.fitted = network, fitted
        self.temperature, self.multilabel, self.positive = temperature, multilabel, positive

    def forward(self, images: Tensor) -> Tensor:
        """Return the probabilities (N, K) float32 of images (N, H, W, 3) uint8 of any size."""
        logits: Tensor = self.network(self.fitted(images)).double()
        if self.positive is not None:
            logits = functional.pad(logits, (self.positive, 1 - self.positive))
        logits = logits / self.temperature
        return (logits.sigmoid() if self.multilabel else logits.softmax(dim=1)).float()


def make_exported(predictor: Predictor) -> Exported:
    """Return the network of a model as predict computes it, on the CPU in full precision.

    Raises
    ------
    InputError
        If what it does to images is not part of a network: `train.preprocess`, bands, 16 bits.
    """
    seen, card = predictor.seen, predictor.model.card
    if seen.steps:
        names = ", ".join(step.target for step in seen.steps)
        raise InputError(f"{predictor.model.name}: was trained with train.preprocess ({names}), which is no part of a network")
    if seen.bands is not None or seen.dtype != "uint8" or seen.channels not in (1, 3):
        raise InputError(f"{predictor.model.name}: takes {seen.channels} bands of {seen.dtype}; only grey and RGB are exported")
    network = predictor.model.network
    assert isinstance(network, Normalized)
    images = torch.zeros((FEW, seen.channels, *seen.shape), dtype=torch.uint8)
    folded = fold_batch_norm(network.cpu().eval(), images)
    calibration = predictor.rule.calibration if predictor.rule.is_calibrated else None
    return Exported(
        folded,
        Fitted(seen.shape, seen.channels, seen.way),
        temperature=calibration.temperature if calibration else 1.0,
        multilabel=card.task == "multilabel",
        positive=card.positive,
    ).eval()


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
