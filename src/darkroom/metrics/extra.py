"""Extra metrics: built from params.yaml, tried before anything is trained, computed over all images at once.

N images, K classes.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from darkroom.base.errors import InputError, RunError, described, is_main_process, warn
from darkroom.base.params import Target
from darkroom.metrics.decision import USUAL, Decision

if TYPE_CHECKING:
    from torchmetrics import Metric

Mode = Literal["min", "max"]
# A metric is tried on one image per class, and at most on this many: with a thousand classes it would be a million numbers.
TRIED = 64


class ExtraMetrics:
    """Metrics of all images that were added, over all processes.

    Parameters
    ----------
    metrics, multilabel
        Metrics by name; whether an image may have any number of classes.
    positive
        Label of the positive class of a binary task: metrics are given its probability (N,) and labels (N,) of 0 and 1.
    key, classes
        Key of params.yaml that names the metrics, and names of the K classes, for messages.
    """

    def __init__(
        self,
        metrics: Mapping[str, "Metric"],
        *,
        multilabel: bool = False,
        positive: int | None = None,
        key: str = "train.metrics",
        classes: Sequence[str] = (),
    ):
        self.metrics, self.multilabel, self.positive, self.key = dict(metrics), multilabel, positive, key
        self.classes = list(classes)
        self.said: set[str] = set()

    def __len__(self) -> int:
        return len(self.metrics)

    def clone(self) -> "ExtraMetrics":
        """Return the same metrics without images."""
        clones = {name: metric.clone() for name, metric in self.metrics.items()}
        made = ExtraMetrics(clones, **{each: getattr(self, each) for each in ("multilabel", "positive", "key", "classes")})
        made.reset()
        return made

    def reset(self) -> None:
        """Forget all images."""
        for metric in self.metrics.values():
            metric.reset()

    def add_logits(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch of logits (N, K), of a binary task (N, 1), and labels, (N,) or (N, K)."""
        if self.metrics:
            # torchmetrics would take logits that are all between 0 and 1 for probabilities.
            exact = logits.detach().float()
            if self.positive is not None:
                self._update(exact[:, 0].sigmoid(), labels == self.positive)
            else:
                self._update(exact.sigmoid() if self.multilabel else exact.softmax(dim=1), labels)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add a batch of probabilities (N, K) and labels, (N,) or (N, K)."""
        if self.positive is not None:
            probabilities, labels = probabilities[:, self.positive], labels == self.positive
        self._update(probabilities, labels)

    def _update(self, probabilities: Tensor, labels: Tensor) -> None:
        # Mixed precision would sum probabilities in half precision, which is too coarse.
        with torch.autocast(probabilities.device.type, enabled=False):
            for name, metric in self.metrics.items():
                metric.to(probabilities.device)
                with self._explained(name):
                    metric.update(probabilities, labels.long())

    def values(self) -> dict[str, float]:
        """Return the metrics of all images added, NaN where undefined; say once for each which classes its mean leaves out."""
        found = {}
        for name, metric in self.metrics.items():
            with _silent(), self._explained(name):
                found[name] = float(metric.compute())
            self._say(name, getattr(metric, "left_out", lambda _: "")(self.classes))
        return found

    def take_values(self) -> dict[str, float]:
        """Return the metrics of all images added, and forget these."""
        self.said.clear()
        found = self.values()
        self.reset()
        return found

    def _say(self, name: str, left_out: str) -> None:
        if left_out and name not in self.said and is_main_process():
            self.said.add(name)
            warn(f"params.yaml: {self.key}.{name}: {left_out}")

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        """Turn an error of a metric into one line."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            kind = name_of(self.metrics[name])
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
                f"({name_of(self.metrics[name])} has no higher_is_better); set it to max or min"
            )
        return otherwise


def build_metrics(
    key: str,
    targets: Mapping[str, Target],
    *,
    num_classes: int,
    multilabel: bool,
    allow: Iterable[str],
    decision: Decision = USUAL,
    classes: Sequence[str] = (),
) -> ExtraMetrics:
    """Build the metrics of `train.metrics` or `evaluate.metrics`, and try each on a few images.

    The task, the number of classes and the threshold of `decision` are filled in. torchmetrics is imported only if there are
    metrics.

    Raises
    ------
    InputError
        Naming the metric that cannot be built, is for another task, or does not return one number.
    """
    task = "binary" if decision.positive is not None else "multilabel" if multilabel else "multiclass"
    if not targets:
        return ExtraMetrics({}, multilabel=multilabel, positive=decision.positive, key=key)
    from darkroom.hardware.metrics_import import import_torchmetrics

    import_torchmetrics()
    from darkroom.metrics.gathered import MetricBuilder

    filled = {"task": task, "num_classes": num_classes, "num_labels": num_classes, "threshold": decision.threshold}
    made = {
        name: MetricBuilder(f"{key}.{name}", (nn.Module,), allow, filled).build_metric(target) for name, target in targets.items()
    }
    for name, metric in made.items():
        _check_task(f"params.yaml: {key}.{name}", metric, task)
        _try(f"params.yaml: {key}.{name}", metric, num_classes, task)
    return ExtraMetrics(made, multilabel=multilabel, positive=decision.positive, key=key, classes=classes)


def name_of(metric: "Metric") -> str:
    """Return the name of a metric's class, or of the function or module that it measures with."""
    name: str = getattr(metric, "name", type(metric).__name__)
    return name


# What an image has.
LABELS = {"multiclass": "one class", "multilabel": "several labels", "binary": "one of two classes"}


def _check_task(where: str, metric: "Metric", task: str) -> None:
    """Refuse torchmetrics' metrics for another task, some of which take such labels and return a meaningless number."""
    name = name_of(metric)
    of_library = getattr(metric, "source", type(metric).__module__).startswith("torchmetrics.")
    other = next((each for each in LABELS if name.lower().startswith(each)), task)
    if not of_library or other == task or (other, task) == ("binary", "multilabel"):
        return
    ours = task.capitalize() if name[0].isupper() else f"{task}_"
    if task == "multilabel":
        said = "for one class per image, but this set is multilabel"
    elif task == "binary":
        said = "for several outputs, but train.task is binary"
    else:
        said = "for multilabel sets" if other == "multilabel" else "for train.task: binary"
    raise InputError(f"{where}: {name} is {said}; use the name without its first word, or {ours}…")


def _try(where: str, metric: "Metric", num_classes: int, task: str) -> None:
    num = min(num_classes, TRIED)
    probabilities = 0.5 + torch.eye(num, num_classes) / 4
    labels = torch.eye(num, num_classes).long() if task == "multilabel" else torch.arange(num)
    if task != "multilabel":
        probabilities /= probabilities.sum(dim=1, keepdim=True)
    if task == "binary":
        probabilities = probabilities[:, 1]
    name = name_of(metric)
    try:
        with _silent():
            metric.update(probabilities, labels)
            value = metric.compute()
    except Exception as error:
        raise InputError(
            f"{where}: {name} does not take probabilities {tuple(probabilities.shape)} and labels {tuple(labels.shape)} "
            f"({described(error)}); use a metric for {LABELS[task]} per image"
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
