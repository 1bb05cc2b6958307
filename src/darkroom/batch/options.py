"""Flags of ./darkroom predict in place of what params.yaml and the calibration of the model say. N images, K classes."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.inference.calibrated import Rule
from darkroom.metrics.calibration import at_temperature
from darkroom.metrics.decision import Rounded

if TYPE_CHECKING:
    from darkroom.inference.predictor import Predictor


@dataclass(frozen=True)
class Options:
    """What was given on the command line; None: as params.yaml and the calibration have it.

    Attributes
    ----------
    top_k
        Number of most probable classes that are written.
    threshold
        Of several labels, or of the positive class: a number, or `fitted`.
    temperature
        The logits are divided by it.
    unknown
        Probability of the predicted class below which it is `unknown`; 0: never.
    """

    top_k: int | None = None
    threshold: float | str | None = None
    temperature: float | None = None
    unknown: float | None = None

    def check(self) -> None:
        """Refuse values that no model takes.

        Raises
        ------
        InputError
            Naming the flag.
        """
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"--top-k: is {self.top_k}, but should be 1 or more; give another number")
        if isinstance(self.threshold, float) and not 0 < self.threshold < 1:
            raise InputError(f"--threshold: is {self.threshold:g}, but should be above 0 and below 1; give another number")
        if self.temperature is not None and not 0.01 <= self.temperature <= 100:
            raise InputError(f"--temperature: is {self.temperature:g}, but should be 0.01 to 100; 1 changes nothing")
        if self.unknown is not None and not 0 <= self.unknown < 1:
            raise InputError(f"--unknown: is {self.unknown:g}, but should be 0, for never, or below 1; give another number")

    def changed(self, params: Params) -> Params:
        """Return params.yaml with what was given in section `predict`."""
        given = {"top_k": self.top_k, "threshold": self.threshold}
        changes = {name: value for name, value in given.items() if value is not None}
        return params.model_copy(update={"predict": params.predict.model_copy(update=changes)})

    def apply(self, predictor: "Predictor") -> None:
        """Let a model decide by what was given.

        Raises
        ------
        InputError
            If that makes no sense for it.
        """
        card = predictor.model.card
        if self.top_k is not None and self.top_k > len(card.classes):
            raise InputError(f"--top-k: is {self.top_k}, but the model has {len(card.classes)} classes; give at most as many")
        if self.unknown and card.task == "multilabel":
            raise InputError("--unknown: the model says any number of classes, also none; give --threshold instead")
        if self.unknown and card.task == "multiclass" and self.unknown <= 1 / len(card.classes):
            least = f"the most probable of {len(card.classes)} classes is never below {1 / len(card.classes):.4g}"
            raise InputError(f"--unknown: is {self.unknown:g}, but {least}; give a larger number")
        if self.temperature is not None or self.unknown is not None:
            predictor.rule = GivenRule.of(predictor.rule, self)
            predictor.decision = predictor.rule.decision

    def check_task(self, task: str) -> None:
        """Refuse a threshold for a model that has none; called before `changed` reaches it."""
        if self.threshold is not None and task == "multiclass":
            advice = "leave it out; --unknown 0.5 names no class where the probability is lower"
            raise InputError(f"--threshold: the model predicts the most probable of several classes; {advice}")


@dataclass(frozen=True)
class GivenRule(Rule):
    """A rule with another temperature, or another probability below which a class is `unknown`.

    Sets, and `unknown` by calibration, go by calibrated probabilities, as without it.
    """

    inner: Rule
    options: Options

    @classmethod
    def of(cls, rule: Rule, options: Options) -> "GivenRule":
        """Return the rule with what was given; thresholds move with the temperature, so that they decide as before."""
        decision = rule.decision
        if options.temperature is not None:
            now = rule.calibration.temperature if rule.calibration is not None and rule.is_calibrated else 1.0
            before = np.atleast_2d(decision.threshold).astype(np.float64)
            moved = at_temperature(before, options.temperature / now, multilabel=True)[0].tolist()
            decision = replace(decision, threshold=tuple(moved) if isinstance(decision.threshold, tuple) else moved[0])
        return cls(decision, rule.calibration, rule.multilabel, rule.is_calibrated, rule, options)

    def predicted(self, probabilities: Rounded, features: NDArray[np.float32] | None = None) -> dict[str, Any]:
        """Return what `Rule` does, with what was given."""
        found = self.inner.predicted(probabilities, features)
        if self.options.temperature is not None:
            kept = probabilities.astype(np.float32).astype(np.float64)
            found["probabilities"] = at_temperature(kept, self.options.temperature, multilabel=self.multilabel)
        if self.options.unknown is not None:
            confidence = self.decision.confidence(found["probabilities"])
            found["abstained"] = confidence < self.options.unknown if self.options.unknown else None
        return found

    @property
    def record(self) -> dict[str, Any]:
        """What the temperature is."""
        given = self.options.temperature
        return self.inner.record if given is None else {"temperature": given}
