"""Metrics of an epoch from counts that are kept on the device, so that no step waits for it.

N pictures, K classes.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Tally:
    """Counts of right, actual and predicted pictures per class, and the sum of losses."""

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.counts: Tensor | None = None
        self.loss: Tensor | None = None

    def reset(self) -> None:
        """Forget all pictures."""
        self.counts = self.loss = None

    def add(self, logits: Tensor, labels: Tensor, mean_loss: Tensor) -> None:
        """Add a batch of logits (N, K) and labels (N,) with the mean of its losses."""
        predicted = logits.argmax(dim=1)
        # Picking out the right ones would wait for the device, to know how many there are: wrong ones count as class K.
        right = torch.where(predicted == labels, labels, self.num_classes)
        count = torch.stack(
            [torch.bincount(which, minlength=self.num_classes + 1)[: self.num_classes] for which in (right, labels, predicted)]
        )
        loss = mean_loss.float() * len(labels)
        # What was taken up is on the CPU.
        self.counts = count if self.counts is None else self.counts.to(count.device) + count
        self.loss = loss if self.loss is None else self.loss.to(loss.device) + loss

    def state(self, gather: Callable[[Any], Any]) -> dict[str, Tensor] | None:
        """Return the counts and losses over all processes, on the CPU; None if there are none."""
        if self.counts is None or self.loss is None:
            return None
        counts = gather(self.counts).reshape(-1, 3, self.num_classes).sum(0).cpu()
        return {"counts": counts, "loss": gather(self.loss).reshape(-1).sum().cpu()}

    def take_up(self, state: dict[str, Tensor] | None) -> None:
        """Go on from counts and losses that `state` returned."""
        self.reset()
        if state is not None:
            self.counts, self.loss = state["counts"], state["loss"]

    def metrics(self, gather: Callable[[Any], Any] = lambda value: value) -> dict[str, Tensor]:
        """Return loss, accuracy, balanced_accuracy and f1_macro of all pictures added, over all processes.

        A class with no picture is left out of balanced accuracy and counts as 0 in f1_macro, as in scikit-learn.
        """
        if self.counts is None or self.loss is None:
            return {}
        counts = gather(self.counts).reshape(-1, 3, self.num_classes).sum(0).double().cpu()  # 3 K
        loss = gather(self.loss).reshape(-1).sum().double().cpu()
        right, actual, predicted = counts
        present = actual > 0
        total = actual.sum()
        return {
            "loss": loss / total,
            "accuracy": right.sum() / total,
            "balanced_accuracy": (right[present] / actual[present]).mean(),
            "f1_macro": (2 * right / (actual + predicted).clamp(min=1)).mean(),
        }
