"""Means over classes of metrics that are undefined for some of them, such as the AUROC of a class that every image has.

torchmetrics gives 0 for these and takes it into the mean. K classes.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryStatScores, MulticlassStatScores, MultilabelStatScores
from torchmetrics.wrappers.abstract import WrapperMetric

# Arguments of a metric that its counts take, by its task.
COUNTED = {
    "multiclass": ("num_classes", "top_k", "ignore_index"),
    "multilabel": ("num_labels", "threshold", "ignore_index"),
    "binary": ("threshold", "ignore_index"),
}
TASKS = tuple(COUNTED)
ARGUMENTS = ("average", "zero_division", "num_classes", "num_labels", "top_k", "threshold", "ignore_index")


class Need(NamedTuple):
    """What the value of a class needs."""

    is_met: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """From images that have the class, others, images predicted to have it, others, (K,), to which values are defined, (K,)."""
    lacking: str
    """What is said of the other classes."""


ACTUAL = Need(lambda actual, *_: actual > 0, "have no images")
OTHERS = Need(lambda _, others, *__: others > 0, "have all images")
BOTH = Need(lambda actual, others, *_: (actual > 0) & (others > 0), "have none of the images, or all")
PREDICTED = Need(lambda _, __, predicted, ___: predicted > 0, "are never predicted")
NOT_PREDICTED = Need(lambda _, __, ___, rest: rest > 0, "are always predicted")
EITHER = Need(lambda actual, _, predicted, __: actual + predicted > 0, "have no images and are never predicted")
# By the name without its task. The accuracy of independent labels is always defined.
NEEDS = {
    "auroc": BOTH,
    "logauc": BOTH,
    "eer": BOTH,
    "averageprecision": ACTUAL,
    "recall": ACTUAL,
    "accuracy": ACTUAL,
    "precision": PREDICTED,
    "specificity": OTHERS,
    "negativepredictivevalue": NOT_PREDICTED,
    "f1score": EITHER,
    "fbetascore": EITHER,
    "jaccardindex": EITHER,
}


class MeanOfDefined(WrapperMetric):
    """The mean of a metric over the classes for which it is defined; NaN if there are none.

    Parameters
    ----------
    metric
        Returns a value for each class, (K,), or one.
    counts
        Counts positives and negatives of each class, (K, 5).
    need
        What a value needs to be defined.
    name, source
        Name of the metric and of its module, for messages.
    weighted
        Whether classes weigh as much as they have images, rather than the same.

    Attributes
    ----------
    undefined : list of int
        The classes that the last value leaves out.
    """

    full_state_update = False

    def __init__(self, metric: Metric, counts: Metric, need: Need, name: str, source: str, *, weighted: bool):
        super().__init__()
        self.metric, self.counts, self.need, self.weighted = metric, counts, need, weighted
        self.name, self.source = name, source
        self.undefined: list[int] = []
        self.all_undefined = False

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """Whether the greatest value is the best."""
        return self.metric.higher_is_better

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self.metric.update(preds, target)
        self.counts.update(preds, target)

    def compute(self) -> Tensor:
        """Return the mean."""
        values: Tensor = self.metric.compute()
        flat, numbers = values.reshape(-1), self.counts.compute().reshape(-1, 5)
        if len(flat) != len(numbers):
            return values  # a class of a user that returns no value for each class
        right, wrong, rest, missed, support = numbers.unbind(1)
        defined = self.need.is_met(support, wrong + rest, right + wrong, rest + missed) & ~flat.isnan()
        self.undefined, self.all_undefined = (~defined).nonzero()[:, 0].tolist(), not bool(defined.any())
        if not self.weighted:
            return flat[defined].mean()  # of none: NaN
        return (
            (flat[defined] * (support[defined] / support[defined].sum())).sum() if defined.any() else flat.new_tensor(torch.nan)
        )

    def left_out(self, classes: Sequence[str]) -> str:
        """Say which classes the last value leaves out, and why."""
        if self.all_undefined:
            return f"{self.name} is undefined and left out, since its classes {self.need.lacking}"
        named = [classes[label] if label < len(classes) else str(label) for label in self.undefined[:3]]
        more = f" and {len(self.undefined) - 3} more" if len(self.undefined) > 3 else ""
        return f"the mean of {self.name} leaves out {', '.join(named)}{more}, which {self.need.lacking}" if named else ""

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.metric.reset()
        self.counts.reset()


def mean_of_defined(metric: Metric) -> Metric:
    """Return a metric of torchmetrics, or of a class made from one, as the mean over the classes for which it is defined."""
    kinds = [kind.__name__ for kind in type(metric).__mro__ if kind.__module__.startswith("torchmetrics.")]
    arguments = {name: getattr(metric, name, None) for name in ARGUMENTS}
    task, need = _need(next((kind for kind in kinds if _need(kind, arguments)[1]), ""), arguments)
    if need is None:
        return metric
    each = metric
    if task != "binary":
        each = metric.clone()
        each.average = "none"
    name, source = type(metric).__name__, type(metric).__module__
    return MeanOfDefined(each, _counts(task, arguments), need, name, source, weighted=arguments["average"] == "weighted")


def function_of_defined(function: Callable[..., Any], arguments: Mapping[str, Any], gather: Callable[..., Metric]) -> Metric:
    """Return the same for a function of torchmetrics; `gather` makes a metric of a function of all predictions and labels."""
    named = {name: each.default for name, each in inspect.signature(function).parameters.items()} | dict(arguments)
    task, need = _need(function.__name__, named) if function.__module__.startswith("torchmetrics.") else ("", None)
    if need is None:
        return gather(partial(function, **arguments))
    each = gather(partial(function, **(arguments if task == "binary" else {**arguments, "average": "none"})))
    name, source = function.__name__, function.__module__
    return MeanOfDefined(each, _counts(task, named), need, name, source, weighted=named.get("average") == "weighted")


def _need(name: str, arguments: Mapping[str, Any]) -> tuple[str, Need | None]:
    """Return the task of a metric, and what it needs, if it is a mean over classes, or of one, that may be undefined."""
    key = name.lower().replace("_", "")
    task = next((each for each in TASKS if key.startswith(each)), arguments.get("task") or "")
    need = NEEDS.get(key.removeprefix(task))
    always = key.endswith("accuracy") and task != "multiclass"
    is_mean = task == "binary" or arguments.get("average") in ("macro", "weighted")
    return task, None if task not in TASKS or always or not is_mean or arguments.get("zero_division") else need


def _counts(task: str, arguments: Mapping[str, Any]) -> Metric:
    given = {name: arguments[name] for name in COUNTED[task] if arguments.get(name) is not None}
    if task == "binary":
        return BinaryStatScores(**given)
    return (MulticlassStatScores if task == "multiclass" else MultilabelStatScores)(average="none", **given)
