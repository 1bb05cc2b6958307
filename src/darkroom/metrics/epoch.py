"""Metrics of an epoch, from counts that stay on the device, so that no step waits for it.

N images, K classes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from darkroom.base.params import BINARY, MEASURED
from darkroom.metrics.extra import ExtraMetrics


class EpochMetrics:
    """Counts of correct, actual and predicted images per class, the sum of losses, and the extra metrics."""

    measured: tuple[str, ...] = MEASURED

    def __init__(self, num_classes: int, extra: ExtraMetrics | None = None):
        self.num_classes = self.width = num_classes
        self.extra = extra or ExtraMetrics({})
        self.counts: Tensor | None = None
        self.loss: Tensor | None = None

    def reset(self) -> None:
        """Forget all images."""
        self.counts = self.loss = None
        self.extra.reset()

    def add(self, logits: Tensor, labels: Tensor, mean_loss: Tensor) -> None:
        """Add a batch of logits (N, K) and labels (N,) with the mean of its losses."""
        count = self._count(logits, labels)
        loss = mean_loss.float() * len(labels)
        self.extra.add_logits(logits, labels)
        # Restored counts are on the CPU.
        self.counts = count if self.counts is None else self.counts.to(count.device) + count
        self.loss = loss if self.loss is None else self.loss.to(loss.device) + loss

    def _count(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return for each class the number of correct, actual and predicted images, (3, K)."""
        predicted = self._predicted(logits)
        # Wrong predictions are counted as class K. Selecting the correct ones, or bincount, would wait for the device to learn
        # their number.
        right = torch.where(predicted == labels, labels, self.num_classes)
        which = torch.stack([right, labels, predicted])  # 3 N
        counts = which.new_zeros(3, self.num_classes + 1).scatter_add_(1, which, torch.ones_like(which))
        return counts[:, : self.num_classes]

    def _predicted(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=1)

    def _totals(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the counts per class, the number of correct images, and the number of all images."""
        return counts, counts[0].sum(), counts[1].sum()

    def _further(self, f1: Tensor) -> dict[str, Tensor]:  # noqa: ARG002
        """Return what is measured beside, from the F1 of each class (K,)."""
        return {}

    def state(self, gather: Callable[[Any], Any]) -> dict[str, Tensor] | None:
        """Return the counts and losses of all processes, on the CPU; None if there are none."""
        if self.counts is None or self.loss is None:
            return None
        counts = gather(self.counts).reshape(-1, 3, self.width).sum(0).cpu()
        return {"counts": counts, "loss": gather(self.loss).reshape(-1).sum().cpu()}

    def restore(self, state: dict[str, Tensor] | None) -> None:
        """Continue from counts and losses that `state` returned."""
        self.reset()
        if state is not None:
            self.counts, self.loss = state["counts"], state["loss"]

    def metrics(self, gather: Callable[[Any], Any] = lambda value: value) -> dict[str, Tensor]:
        """Return loss, accuracy, balanced_accuracy, f1_macro and the extra metrics of all images added, over all processes.

        A class without images is left out of balanced_accuracy, and one that is never predicted besides out of f1_macro.
        """
        if self.counts is None or self.loss is None:
            return {}
        counts = gather(self.counts).reshape(-1, 3, self.width).sum(0).double().cpu()
        loss = gather(self.loss).reshape(-1).sum().double().cpu()
        (right, actual, predicted), num_right, num_images = self._totals(counts)
        present, f1 = actual > 0, 2 * right / (actual + predicted)  # 0 / 0 is NaN
        return {
            "loss": loss / num_images,
            "accuracy": num_right / num_images,
            "balanced_accuracy": (right[present] / actual[present]).mean(),
            "f1_macro": f1.nanmean(),
            **self._further(f1),
            **{name: torch.tensor(value) for name, value in self.extra.values().items()},
        }


class BinaryEpochMetrics(EpochMetrics):
    """The same for one output, logits (N, 1) of the positive class, and labels (N,); also the F1 of the positive class."""

    measured = (*MEASURED, BINARY[0])

    def __init__(self, positive: int, num_classes: int = 2, extra: ExtraMetrics | None = None):
        super().__init__(num_classes, extra)
        self.positive = positive

    def _predicted(self, logits: Tensor) -> Tensor:
        return torch.where(logits[:, 0] > 0, self.positive, 1 - self.positive)

    def _further(self, f1: Tensor) -> dict[str, Tensor]:
        return {BINARY[0]: f1[self.positive]}


class MultilabelEpochMetrics(EpochMetrics):
    """The same for labels (N, K) of 0 and 1; a class is predicted where its logit is positive.

    An image is correct if all its classes are. The counts have one more column, for whole images.
    """

    def __init__(self, num_classes: int, extra: ExtraMetrics | None = None):
        super().__init__(num_classes, extra)
        self.width = num_classes + 1

    def _count(self, logits: Tensor, labels: Tensor) -> Tensor:
        predicted, actual = logits > 0, labels > 0
        exact = (predicted == actual).all(dim=1, keepdim=True)
        columns = (
            torch.cat([predicted & actual, exact], dim=1),
            torch.cat([actual, torch.ones_like(exact)], dim=1),
            torch.cat([predicted, torch.zeros_like(exact)], dim=1),
        )
        return torch.stack([column.sum(dim=0) for column in columns])

    def _totals(self, counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return counts[:, :-1], counts[0, -1], counts[1, -1]


def epoch_metrics_of(num_classes: int, *, multilabel: bool, positive: int | None) -> Callable[..., EpochMetrics]:
    """Return what makes the metrics of an epoch, given `extra` or nothing; `positive` is the label of a binary task."""
    if multilabel:
        return partial(MultilabelEpochMetrics, num_classes)
    return partial(EpochMetrics, num_classes) if positive is None else partial(BinaryEpochMetrics, positive, num_classes)
