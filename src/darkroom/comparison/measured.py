"""How the metrics of two revisions differ, over all and per class, and how far that may be chance. N images of both."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from darkroom.comparison.matching import Matched
from darkroom.comparison.resampling import bootstrap, exchanged, mcnemar, metrics_of, p_value
from darkroom.metrics.bootstrap import Units, middle_of
from darkroom.metrics.measures import LOWER_IS_BETTER, measure
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.per_image import Floats

# Metrics without images, such as those of `evaluate.metrics`, have neither.
UNKNOWN = float("nan")
EXACT = "accuracy"


@dataclass(frozen=True)
class MetricChange:
    """One metric of two revisions.

    Attributes
    ----------
    name : str
    first, second : float
        Its values; NaN where there is none.
    low, high : float
        The difference is between these with 95 % certainty, by a paired bootstrap; NaN: unknown.
    p : float
        How often chance alone makes such a difference; NaN: unknown.
    """

    name: str
    first: float
    second: float
    low: float = UNKNOWN
    high: float = UNKNOWN
    p: float = UNKNOWN

    @property
    def difference(self) -> float:
        """The second value minus the first."""
        return self.second - self.first

    @property
    def has_noise(self) -> bool:
        """Whether it is known how far the difference may be chance."""
        return not np.isnan(self.low)

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `within noise`, or an empty text where noise is unknown."""
        if not self.has_noise:
            return ""
        if self.p > 0.05 or self.low <= 0 <= self.high:
            return "within noise"
        return "better" if (self.difference < 0) == (self.name in LOWER_IS_BETTER) else "worse"


@dataclass(frozen=True)
class ClassChange:
    """One class of two revisions: its images, F1 in each, and how many of its images were fixed and broken."""

    name: str
    support: int
    first: float
    second: float
    fixed: int
    broken: int

    @property
    def difference(self) -> float:
        """The second F1 minus the first; an undefined one counts as 0."""
        return float(np.nan_to_num(self.second) - np.nan_to_num(self.first))


@dataclass(frozen=True)
class Measured:
    """The metrics of two revisions on the images of both.

    Attributes
    ----------
    matched : Matched
        At least one image.
    bins : int
        Bins of the calibration error.
    """

    matched: Matched
    bins: int

    @cached_property
    def metrics(self) -> list[MetricChange]:
        """All metrics that both have."""
        first, second = (metrics_of(side) for side in self._sides)
        resampled = bootstrap(self._sides, self.units)
        by_chance = exchanged(*self._sides, self.units)
        changes = []
        for name in [name for name in first if name in second]:
            is_exact = name == EXACT and self.units.member is None
            p = self.mcnemar if is_exact else p_value(second[name] - first[name], by_chance[name])
            limits = middle_of(resampled[1][name] - resampled[0][name])
            changes.append(MetricChange(name, first[name], second[name], *limits, p))
        return [change for change in changes if not np.isnan(change.difference)]

    @cached_property
    def units(self) -> Units:
        """What is drawn for the noise: images, or the groups that they belong to."""
        return Units.of(len(self.matched), self.matched.groups)

    @cached_property
    def mcnemar(self) -> float:
        """The p-value of McNemar's exact test of whether as many images were fixed as broken but for chance."""
        return mcnemar(len(self.matched.fixed), len(self.matched.broken))

    @cached_property
    def classes(self) -> list[ClassChange]:
        """The classes with images or predictions, the largest changes of F1 first."""
        scores = [measure(side).per_class["f1"][0] for side in self._sides]
        support = self._sides[0].counts[2]
        fixed, broken = (self._by_class(right=place) for place in (1, 0))
        changes = [
            ClassChange(
                name,
                int(support[place]),
                float(scores[0][place]),
                float(scores[1][place]),
                int(fixed[place]),
                int(broken[place]),
            )
            for place, name in enumerate(self.matched.first.classes)
            if not all(np.isnan(score[place]) for score in scores)
        ]
        return sorted(changes, key=lambda each: (-abs(each.difference), -each.fixed - each.broken))

    @cached_property
    def changed_classes(self) -> list[ClassChange]:
        """Those that differ in anything."""
        return [each for each in self.classes if each.difference or each.fixed or each.broken]

    def _by_class(self, *, right: int) -> Floats:
        """Return in how many images of each class, (K,), one side is right about the class, and the other one not."""
        sides = (self.matched.first, self.matched.second)
        winner, loser = sides[right], sides[1 - right]
        if winner.is_multilabel:
            found = (winner.predicted == winner.labels) & (loser.predicted != winner.labels) & (winner.labels > 0)
            return np.asarray(found.sum(axis=0), np.float64)
        chosen = winner.right & ~loser.right
        return np.bincount(winner.labels[chosen], minlength=len(winner.classes)).astype(np.float64)

    @cached_property
    def _sides(self) -> tuple[Outcomes, Outcomes]:
        first, second = (side.outcomes(bins=self.bins) for side in (self.matched.first, self.matched.second))
        return first, second
