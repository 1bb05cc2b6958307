"""Extra metrics of torchmetrics: built from params.yaml, tried before anything is trained, computed over all images at once.

N images, K classes.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from darkroom.base.errors import InputError, RunError, described
from darkroom.base.instantiate import Builder
from darkroom.base.params import Target

if TYPE_CHECKING:
    from torchmetrics import Metric

Mode = Literal["min", "max"]
# A metric is tried on one image per class, and at most on this many: with a thousand classes it would be a million numbers.
TRIED = 64
LIBRARY = "torchmetrics.classification."


class ExtraMetrics:
    """Metrics by name, of all images that were added, over all processes.

    Parameters
    ----------
    metrics
        The metrics, by name.
    multilabel
        Whether an image may have any number of classes.
    key
        Key of params.yaml that names them.
    """

    def __init__(self, metrics: Mapping[str, "Metric"], *, multilabel: bool = False, key: str = "train.metrics"):
        self.metrics, self.multilabel, self.key = dict(metrics), multilabel, key

    def __len__(self) -> int:
        return len(self.metrics)

    def clone(self) -> "ExtraMetrics":
        """Return the same metrics without images."""
        clones = {name: metric.clone() for name, metric in self.metrics.items()}
        made = ExtraMetrics(clones, multilabel=self.multilabel, key=self.key)
        made.reset()
        return made

    def reset(self) -> None:
        """Forget all images."""
        for metric in self.metrics.values():
            metric.reset()

    def add_logits(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (N, K) and labels, (N,) or (N, K)."""
        if self.metrics:
            # torchmetrics would take logits that are all between 0 and 1 for probabilities.
            exact = logits.detach().float()
            self.add(exact.sigmoid() if self.multilabel else exact.softmax(dim=1), labels)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch of probabilities (N, K) and labels, (N,) or (N, K)."""
        # Mixed precision would sum probabilities in half precision, which is too coarse.
        with torch.autocast(probabilities.device.type, enabled=False):
            for name, metric in self.metrics.items():
                metric.to(probabilities.device)
                with self._explained(name):
                    metric.update(probabilities, labels.long())

    def values(self) -> dict[str, float]:
        """Return the metrics of all images added; NaN where a metric is undefined."""
        found = {}
        for name, metric in self.metrics.items():
            with _silent(), self._explained(name):
                found[name] = float(metric.compute())
        return found

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn an error of a metric into one line."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            kind = type(self.metrics[name]).__name__
            said = " ".join(described(error).split())
            raise RunError(f"params.yaml: {self.key}.{name}: {kind} fails ({said}); fix it, or remove it") from error

    def mode(self, monitor: str, otherwise: Mode | None = None) -> Mode:
        """Return whether the lowest or the highest value of `val/…` or `train/…` is the best.

        Parameters
        ----------
        monitor
            The metric.
        otherwise
            `train.monitor_mode`, for one of these metrics that does not declare it.

        Raises
        ------
        InputError
            If neither says it.
        """
        name = monitor.partition("/")[2]
        if name not in self.metrics:
            return "min" if name == "loss" else "max"
        higher = self.metrics[name].higher_is_better
        if higher is not None:
            return "max" if higher else "min"
        if otherwise is None:
            raise InputError(
                f"params.yaml: train.monitor_mode: whether higher or lower is better for {monitor} is unknown "
                f"({type(self.metrics[name]).__name__} has no higher_is_better); set it to max or min"
            )
        return otherwise


def build_metrics(
    key: str, targets: Mapping[str, Target], *, num_classes: int, multilabel: bool, allow: Iterable[str]
) -> ExtraMetrics:
    """Build the metrics of `train.metrics` or `evaluate.metrics`, and try each on a few images.

    The task and the number of classes are filled in. torchmetrics is imported only if there are metrics.

    Raises
    ------
    InputError
        Naming the metric that cannot be built, is for another task, or does not return one number.
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
    return ExtraMetrics(made, multilabel=multilabel, key=key)


def measure_extra(metrics: ExtraMetrics, probabilities: Any, labels: Any) -> dict[str, float]:
    """Return the metrics of NumPy probabilities (N, K) and labels, (N,) or (N, K), then reset them."""
    metrics.add(torch.from_numpy(probabilities).float(), torch.from_numpy(labels))
    values = metrics.values()
    metrics.reset()
    return values


def _check_task(where: str, metric: "Metric", *, multilabel: bool) -> None:
    """Refuse a metric for another task, by its name: some would compute a meaningless number."""
    of_library = (kind.__name__ for kind in type(metric).__mro__ if kind.__module__.startswith(LIBRARY))
    name = next(of_library, "")
    if name.startswith("Multiclass" if multilabel else "Multilabel"):
        said = "for one class per image, but this set is multilabel" if multilabel else "for multilabel sets"
        other = "Multilabel…" if multilabel else "Multiclass…"
        raise InputError(f"{where}: {name} is {said}; use the name without its first word, or {other}")


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
            f"({described(error)}); use a metric for {'several labels' if multilabel else 'one class'} per image"
        ) from error
    finally:
        metric.reset()
    if not (isinstance(value, Tensor) and value.numel() == 1):
        found = f"{tuple(value.shape)} numbers" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise InputError(f"{where}: {name} returns {found}, not one number; set its average, or use another metric")


@contextmanager
def _silent() -> Iterator[None]:
    """Silence warnings of torchmetrics about classes without images; the value that it returns is recorded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
