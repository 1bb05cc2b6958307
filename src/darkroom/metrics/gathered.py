"""Metrics that are a function or a module: they are given the predictions of all images at once, over all processes.

The mean of a metric over batches is another number: a last batch that is smaller would weigh as much as the others, and an F1 or
an AUROC of a few images is not that of all. N images, K classes.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, classification
from torchmetrics.utilities import dim_zero_cat

from darkroom.base.instantiate import Builder
from darkroom.base.params import Target
from darkroom.metrics.class_means import function_of_defined, mean_of_defined

FUNCTIONS = "torchmetrics.functional.classification"
Measure = Callable[[Tensor, Tensor], Any]


class GatheredMetric(Metric):
    """Keeps all predictions and labels, which torchmetrics gathers over processes, and measures them together.

    Parameters
    ----------
    measure
        From predictions and labels of all images to one number.
    name
        Its name, for messages.
    source
        The module that it is defined in.
    is_higher_better
        Whether the greatest value is the best; None: unknown.
    """

    full_state_update = False
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self, measure: Measure, name: str, source: str, is_higher_better: bool | None):
        super().__init__()
        self.measure, self.name, self.source = measure, name, source
        self.is_higher_better = is_higher_better
        self.add_state("preds", [], dist_reduce_fx="cat")
        self.add_state("target", [], dist_reduce_fx="cat")

    @property
    def higher_is_better(self) -> bool | None:  # type: ignore[override]
        """Whether the greatest value is the best."""
        return self.is_higher_better

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self.preds.append(preds)
        self.target.append(target)

    def compute(self) -> Any:
        """Return the value of all images added."""
        with torch.no_grad():
            value = self.measure(dim_zero_cat(self.preds), dim_zero_cat(self.target))
        # Of a number, such as one of NumPy's.
        return value if isinstance(value, Tensor | tuple | list | dict) else torch.tensor(float(value))


class MetricBuilder(Builder):
    """Builds a metric from a class of torchmetrics, or from a module or a function of predictions and labels."""

    def build_metric(self, target: Target) -> Metric:
        """Return the metric that a target names.

        Raises
        ------
        InputError
            If the name is not allowed or does not exist, or if its arguments do not fit.
        """
        found = self.find(target.target)
        arguments = {name: value for name, value in self.filled.items() if name in inspect.signature(found).parameters}
        arguments |= {name: self._nested(value) for name, value in target.arguments.items()}
        if inspect.isfunction(found) and _is_measure(found, arguments):
            self._check_arguments(target.target, found, (None, None), arguments)
            better = _higher_is_better(found.__name__) if _within(found.__module__, FUNCTIONS) else None
            gather = partial(GatheredMetric, name=found.__name__, source=found.__module__, is_higher_better=better)
            return function_of_defined(found, arguments, gather)
        made = self.build(target)
        if isinstance(made, Metric):
            return mean_of_defined(made)
        kind = type(made)
        return GatheredMetric(made.eval(), kind.__name__, kind.__module__, getattr(made, "higher_is_better", None))

    def _places(self) -> tuple[str, ...]:
        return (*super()._places(), FUNCTIONS)

    def _allows(self, found: Any) -> bool:
        is_own = any(_within(getattr(found, "__module__", ""), place) for place in ("plugins", *self.allow))
        if inspect.isclass(found) and not issubclass(found, Metric) and not is_own:
            return False  # a layer or a loss: of logits, while metrics are given probabilities
        return super()._allows(found) or (inspect.isfunction(found) and _within(found.__module__, FUNCTIONS))

    def _wanted(self) -> str:
        own = ", ".join(("plugins", *self.allow))
        return f"name a class of torchmetrics.classification, a function of {FUNCTIONS}, or a class or function of {own}"


def _within(module: str, place: str) -> bool:
    return module == place or module.startswith(place + ".")


def _is_measure(function: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Return whether a function is the metric itself, and not one that returns it: it needs predictions and labels."""
    needed = [name for name, each in inspect.signature(function).parameters.items() if each.default is each.empty]
    left = [name for name in needed if name not in arguments]
    return _within(function.__module__, FUNCTIONS) or needed[:2] == ["preds", "target"] or len(left) == 2


def _higher_is_better(name: str) -> bool | None:
    """Return what the class of the same name says: MulticlassAUROC of multiclass_auroc, and of auroc."""
    classes = {each.lower(): getattr(classification, each) for each in dir(classification) if each[0].isupper()}
    known = (getattr(classes.get(task + name.replace("_", "")), "higher_is_better", None) for task in ("", "multiclass"))
    return next((value for value in known if value is not None), None)
