"""Further metrics by torchmetrics: built from params.yaml, tried before anything is trained, measured over all images at once.

N images, K classes.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from darkroom.errors import InputError, described
from darkroom.instantiate import Builder
from darkroom.params import Target

if TYPE_CHECKING:
    from torchmetrics import Metric

Mode = Literal["min", "max"]
# A metric is tried on so many images at most: one of each class, but of a thousand classes not a million numbers.
TRIED = 64
LIBRARY = "torchmetrics.classification."


class ExtraMetrics:
    """Metrics by name, of all images that were added, over all processes that train together.

    Parameters
    ----------
    metrics
        What was built.
    multilabel
        Whether images have any number of classes.
    """

    def __init__(self, metrics: Mapping[str, "Metric"], *, multilabel: bool = False):
        self.metrics, self.multilabel = dict(metrics), multilabel

    def __len__(self) -> int:
        return len(self.metrics)

    def clone(self) -> "ExtraMetrics":
        """Return the same metrics of no images."""
        clones = {name: metric.clone() for name, metric in self.metrics.items()}
        made = ExtraMetrics(clones, multilabel=self.multilabel)
        made.reset()
        return made

    def reset(self) -> None:
        """Forget all images."""
        for metric in self.metrics.values():
            metric.reset()

    def add_logits(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (N, K) and labels, (N,) or (N, K)."""
        if self.metrics:
            # Not left to torchmetrics, which takes logits that all lie between 0 and 1 for probabilities.
            exact = logits.detach().float()
            self.add(exact.sigmoid() if self.multilabel else exact.softmax(dim=1), labels)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch of probabilities (N, K) and labels, (N,) or (N, K)."""
        # Sums of probabilities in half precision would be none; a mixed training asks for it in all that it calls.
        with torch.autocast(probabilities.device.type, enabled=False):
            for metric in self.metrics.values():
                metric.to(probabilities.device)
                metric.update(probabilities, labels.long())

    def values(self) -> dict[str, float]:
        """Return the metrics of all images added; NaN where they have none."""
        with _silent():
            return {name: float(metric.compute()) for name, metric in self.metrics.items()}

    def mode(self, monitor: str) -> Mode:
        """Return whether the least or the greatest value of `val/…` is the best one.

        Raises
        ------
        InputError
            If it is one of these metrics and does not say.
        """
        name = monitor.removeprefix("val/")
        if name not in self.metrics:
            return "min" if name == "loss" else "max"
        higher = self.metrics[name].higher_is_better
        if higher is None:
            raise InputError(
                f"params.yaml: train.monitor: whether more or less of {monitor} is better is not known "
                f"({type(self.metrics[name]).__name__} has no higher_is_better); monitor another metric"
            )
        return "max" if higher else "min"


def build_metrics(
    key: str, targets: Mapping[str, Target], *, num_classes: int, multilabel: bool, allow: Iterable[str]
) -> ExtraMetrics:
    """Build the metrics that `train.metrics` or `evaluate.metrics` names, and try each of them.

    The task and the number of classes are filled in. Without any, torchmetrics is not imported.

    Raises
    ------
    InputError
        Naming the metric that cannot be built, is for another task, or has not one number as its value.
    """
    if not targets:
        return ExtraMetrics({}, multilabel=multilabel)
    from darkroom.hardware.startup import import_torchmetrics

    import_torchmetrics()
    from torchmetrics import Metric

    filled = {"task": "multilabel" if multilabel else "multiclass", "num_classes": num_classes, "num_labels": num_classes}
    made = {name: Builder(f"{key}.{name}", (Metric,), allow, filled).build(target) for name, target in targets.items()}
    for name, metric in made.items():
        _check_task(f"params.yaml: {key}.{name}", metric, multilabel=multilabel)
        _try(f"params.yaml: {key}.{name}", metric, num_classes, multilabel=multilabel)
    return ExtraMetrics(made, multilabel=multilabel)


def measure_extra(metrics: ExtraMetrics, probabilities: Any, labels: Any) -> dict[str, float]:
    """Return the metrics of NumPy probabilities (N, K) and labels, (N,) or (N, K), then forget them."""
    metrics.add(torch.from_numpy(probabilities).float(), torch.from_numpy(labels))
    values = metrics.values()
    metrics.reset()
    return values


def _check_task(where: str, metric: "Metric", *, multilabel: bool) -> None:
    """Refuse what is for another task by its name: some of those compute a number without any meaning."""
    of_library = (kind.__name__ for kind in type(metric).__mro__ if kind.__module__.startswith(LIBRARY))
    name = next(of_library, "")
    if name.startswith("Multiclass" if multilabel else "Multilabel"):
        said = "for one class per image, but these have any number of them" if multilabel else "for several labels per image"
        other = "Multilabel…" if multilabel else "Multiclass…"
        raise InputError(f"{where}: {name} is {said}; name it without its first word, or {other}")


def _try(where: str, metric: "Metric", num_classes: int, *, multilabel: bool) -> None:
    num = min(num_classes, TRIED)
    probabilities = 0.5 + torch.eye(num, num_classes) / 4
    labels = torch.eye(num, num_classes).long() if multilabel else torch.arange(num)
    if not multilabel:
        probabilities /= probabilities.sum(dim=1, keepdim=True)
    name = type(metric).__name__
    try:
        with _silent():
            metric.update(probabilities, labels)
            value = metric.compute()
    except Exception as error:
        raise InputError(
            f"{where}: {name} does not take probabilities {tuple(probabilities.shape)} and labels {tuple(labels.shape)} "
            f"({described(error)}); name a metric for {'several labels' if multilabel else 'one class'} per image"
        ) from error
    finally:
        metric.reset()
    if not (isinstance(value, Tensor) and value.numel() == 1):
        found = f"{tuple(value.shape)} numbers" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InputError(f"{where}: {name} returns {found}, not one number; give it an average, or name another metric")


@contextmanager
def _silent() -> Iterator[None]:
    """Let torchmetrics not warn of classes without images: what it returns then is what is recorded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
