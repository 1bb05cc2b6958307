"""Whether each image is predicted correctly, and how fast. N images, C channels, H by W pixels, K classes."""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from darkroom.hardware.folding import FEW, fold_batch_norm, piece_size
from darkroom.input.dataset import Batch
from darkroom.model_choice.costs import wait
from darkroom.models.probe_network import evaluating

# Seconds and batches that the speed of inference is measured in.
SPEED_SECONDS, SPEED_BATCHES = 1.0, 20


@torch.inference_mode()
def judge(
    network: nn.Module, batches: Iterable[Batch], device: torch.device, precision: str, positive: int | None
) -> NDArray[np.bool_]:
    """Return whether each image (N,) is predicted correctly.

    Parameters
    ----------
    network
        On the device.
    batches
        Images or their features, with labels.
    device, precision
        Of the training.
    positive
        Label of the positive class of a binary task.
    """
    with evaluating(network), _computing_in(precision, device):
        right = [
            is_right(network(batch["images"].to(device)).float().cpu(), batch["labels"].cpu(), positive) for batch in batches
        ]
    return torch.cat(right).numpy()


@torch.inference_mode()
def speed(network: nn.Module, images: Tensor, precision: str) -> float:
    """Return images per second of the network, as predict computes it, on images (N, C, H, W) that have been read."""
    device = images.device
    with evaluating(network), torch.inference_mode(False):
        folded = fold_batch_norm(network, images[:FEW].clone())
    piece = images[: piece_size(images, device)]
    with evaluating(folded), _computing_in(precision, device):
        wait(folded(piece))
        begun, done = time.perf_counter(), 0
        while done < SPEED_BATCHES and time.perf_counter() - begun < SPEED_SECONDS:
            wait(folded(piece))
            done += 1
        seconds = time.perf_counter() - begun
    return done * len(piece) / seconds


def _computing_in(precision: str, device: torch.device) -> AbstractContextManager[None]:
    dtype = torch.float16 if precision.startswith("16") else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled="mixed" in precision)


def is_right(logits: Tensor, labels: Tensor, positive: int | None = None) -> Tensor:
    """Return whether the class of each image, or all of them, is predicted correctly, (N,) bool.

    Parameters
    ----------
    logits : (N, K)
        Of a binary task (N, 1).
    labels : (N,)
        Of several labels (N, K).
    positive
        Label of the positive class of a binary task.
    """
    if labels.ndim == 2:
        return ((logits > 0) == (labels > 0.5)).all(dim=1)
    if positive is not None:
        return torch.where(logits[:, 0] > 0, positive, 1 - positive) == labels
    return logits.argmax(dim=1) == labels
