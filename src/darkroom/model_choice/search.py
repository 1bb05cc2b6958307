"""The order in which recipes are tried: cheap ones first, then those that promise most, and nothing that cannot be finished."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.model_choice.backbones import Backbone
from darkroom.model_choice.clock import MARGIN, Clock, OutOfTime
from darkroom.model_choice.recipes import FINE_TUNING, PROBE, Recipe, in_way
from darkroom.model_choice.results import NO_TIME, LeftOut, Row, level, ranked
from darkroom.model_choice.trial import Measured, Trial

# Opening a recipe, to see what it costs, takes about as long.
LEAST_SECONDS = 3.0
# Share of the time that is left which a training of params.yaml may take before the promising ones are tried.
SHARE_AS_SET = 0.25


class Watcher(Protocol):
    """Who is told what happens."""

    def begins(self, recipe: Recipe) -> None:
        """Note that a recipe is tried now."""

    def finished(self, row: Row) -> None:
        """Note a row, which is new or was measured on one more fold."""


@dataclass
class Search:
    """Tries recipes until the time is over or nothing is left.

    Parameters
    ----------
    pack
        The images.
    folds
        Splits to judge on; the first is the pipeline's.
    clock
        The time.
    watcher
        Who is told.
    open_trial
        Checks a training and measures what it costs.

    Attributes
    ----------
    rows : list of Row
        What was finished.
    omitted : list of LeftOut
        What was not.
    expected : dict of float
        Seconds that a recipe needs, once it was opened.
    first_needs : float or None
        Seconds in which the first recipe that was opened would have been finished, counted from the clock's beginning.
    is_late : bool
        Whether a recipe was left out for want of time.
    """

    pack: Pack
    folds: Sequence[Split]
    clock: Clock
    watcher: Watcher
    open_trial: Callable[[Params, Pack, Sequence[Split]], Trial] = Trial
    rows: list[Row] = field(default_factory=list)
    omitted: list[LeftOut] = field(default_factory=list)
    expected: dict[Recipe, float] = field(default_factory=dict)
    first_needs: float | None = None
    is_late: bool = False

    def run(self, backbones: Sequence[Backbone], task: Sequence[str], others: Sequence[Recipe], own: Recipe) -> None:
        """Try every backbone by a probe, the best of them in other ways, and the best rows on further folds.

        Parameters
        ----------
        backbones
            Those that are there, the cheapest first.
        task
            Further presets of the labels' kind.
        others
            Recipes besides those of backbones.
        own
            The training of params.yaml as it stands.
        """
        self.try_all([in_way(backbone, PROBE, task) for backbone in backbones])
        is_own_tried = self.try_one(own, share=SHARE_AS_SET)
        self.try_all(others)
        by_name = {each.name: each for each in backbones}
        kept = len(backbones)
        for way in FINE_TUNING:
            kept = -(-kept // 2)
            best = dict.fromkeys(row.recipe.backbone for row in ranked(self.rows) if row.recipe.backbone in by_name)
            self.try_all([in_way(by_name[name], way, task) for name in list(best)[:kept]])
        if not is_own_tried:
            self.try_one(own)
        self.try_further_folds()

    def try_all(self, recipes: Iterable[Recipe]) -> None:
        """Try recipes one after the other."""
        for recipe in recipes:
            self.try_one(recipe)

    def try_one(self, recipe: Recipe, share: float = 1.0) -> bool:
        """Try a recipe; return False if it needs more than a share of the time that is left, and nothing was said of it."""
        found = self._measure(recipe, self.folds, share)
        if isinstance(found, str):
            self.omitted.append(LeftOut(recipe, found))
        elif found is not None:
            self.rows.append(Row(recipe, tuple(found)))
            self.watcher.finished(self.rows[-1])
        return found is not None

    def try_further_folds(self) -> None:
        """Judge the rows that no other one beats on further folds, half of them on each further one, until one is left."""
        for number in range(1, len(self.folds)):
            best = ranked(level(self.rows))
            if len(best) < 2:
                return
            for row in best[: max(2, -(-len(best) // 2))]:
                if len(row.measured) != number or not self.clock.allows(row.seconds):
                    continue
                found = self._measure(row.recipe, self.folds[number : number + 1])
                if isinstance(found, list):
                    place = self.rows.index(row)
                    self.rows[place] = Row(row.recipe, (*row.measured, *found))
                    self.watcher.finished(self.rows[place])

    def _measure(self, recipe: Recipe, folds: Sequence[Split], share: float = 1.0) -> list[Measured] | str | None:
        """Return what a recipe gives on folds, or why it was not tried; None: it needs more than its share of the time."""
        needed = self.expected.get(recipe, LEAST_SECONDS)
        if not self.clock.allows(needed):
            return self._too_long(needed)
        self.watcher.begins(recipe)
        found: list[Measured] = []
        trial: Trial | None = None
        try:
            with self.clock.limited():
                trial = self.open_trial(recipe.read(), self.pack, folds)
                self.expected[recipe] = trial.expected
                if self.first_needs is None:
                    self.first_needs = self.clock.elapsed + MARGIN * trial.expected
                if not self.clock.allows(trial.expected / share):
                    return self._too_long(trial.expected) if share == 1.0 else None
                for measured in trial.run():
                    found.append(measured)
        except OutOfTime:
            self.is_late = True
            return found or (NO_TIME if trial is None else "was not finished in time")
        except (InputError, RunError) as error:
            return found or str(error)
        return found

    @property
    def needs(self) -> float | None:
        """Seconds after which something will be finished, where nothing was; None if that was not for want of time."""
        if self.rows or not self.is_late:
            return None
        expected = self.first_needs or 0.0
        return expected if expected > self.clock.seconds else 2 * self.clock.seconds  # it took longer than it promised

    def _too_long(self, seconds: float) -> str:
        self.is_late = True
        if seconds == LEAST_SECONDS:
            return NO_TIME
        return f"needs about {duration(seconds)}, and {duration(max(0.0, self.clock.left))} were left"


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
