"""The order of the trials, and what is not started."""

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.model_choice.backbones import Backbone
from darkroom.model_choice.clock import Clock, OutOfTime
from darkroom.model_choice.find import Found
from darkroom.model_choice.recipes import AS_SET, PROBE, Recipe
from darkroom.model_choice.results import Row
from darkroom.model_choice.search import Search
from darkroom.model_choice.trial import Measured

BACKBONES = [Backbone(name, (f"train.model.name={name}",), size, "installed") for size, name in enumerate("abcd", 1)]
OWN = Recipe("small_cnn", AS_SET)


@dataclass
class Watcher:
    """Notes what it is told."""

    told: list[str] = field(default_factory=list)

    def begins(self, recipe: Recipe) -> None:
        self.told.append(f"{recipe.backbone} {recipe.way}")

    def finished(self, row: Row) -> None:
        assert row.measured


@dataclass
class Imagined:
    """A trial that takes no time, and predicts as many images wrongly as it is given."""

    expected: float
    wrong: int | BaseException
    folds: list[Any]

    def run(self) -> Iterator[Measured]:
        if isinstance(self.wrong, BaseException):
            raise self.wrong
        for rows in self.folds:
            right = np.arange(len(rows)) >= self.wrong
            yield Measured(rows, right, float(right.mean()), self.expected, 100.0)


class ImaginedSearch:
    """A search among imagined trials, by recipe."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float, *, num_folds: int = 1):
        self.costs: dict[tuple[str, str], float] = {}
        self.wrong: dict[tuple[str, str], int | BaseException] = {}
        splits: Any = [Split([], {"val": np.arange(200 * number, 200 * (number + 1))}, "") for number in range(num_folds)]
        monkeypatch.setattr(Recipe, "read", lambda recipe: recipe)
        self.watcher = Watcher()
        nothing: Any = None
        self.search = Search(nothing, splits, Clock(seconds), self.watcher, self.open)

    def open(self, recipe: Params, pack: Pack, folds: Sequence[Split]) -> Any:  # noqa: ARG002
        assert isinstance(recipe, Recipe)
        key = (recipe.backbone, recipe.way)
        judged = [each.rows["val"] for each in (folds if recipe.way == PROBE else folds[:1])]
        return Imagined(self.costs.get(key, 1.0), self.wrong.get(key, 10), judged)

    def run(self) -> list[str]:
        self.search.run(BACKBONES, (), [], OWN)
        return self.watcher.told


def test_probes_first_then_the_best_half_in_each_further_way(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 1000)
    search.wrong = {("a", "probe"): 9, ("b", "probe"): 2, ("c", "probe"): 30, ("d", "probe"): 5}
    assert search.run() == [
        *("a probe", "b probe", "c probe", "d probe", f"small_cnn {AS_SET}"),
        *("b partial", "d partial", "b lora", "b full"),
    ]
    assert len(search.search.rows) == 9


def test_what_cannot_be_finished_is_not_started_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 100)
    search.costs = {("a", "partial"): 90.0, ("b", "probe"): 200.0, ("small_cnn", AS_SET): 50.0}
    search.run()
    assert [(each.recipe.backbone, each.recipe.way) for each in search.search.omitted] == [("b", "probe"), ("a", "partial")]
    assert search.search.omitted[0].why.startswith("needs about 3.3 min, and ")
    tried = [row.recipe.way for row in search.search.rows]
    assert tried[-1] == AS_SET, "half of the time for params.yaml only once the others are done"


def test_nothing_is_opened_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 100)
    search.search.clock = Clock(100, time.monotonic() - 99)
    assert search.run() == []
    assert not search.search.rows
    assert {each.why for each in search.search.omitted} == {"no time was left"}


def test_where_nothing_is_finished_it_says_how_long_the_first_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 100)
    search.costs = dict.fromkeys(itertools.product(("a", "b", "c", "d"), ("probe",)), 200.0) | {("small_cnn", AS_SET): 900.0}
    search.run()
    assert search.search.needs == pytest.approx(1.15 * 200, abs=5)
    found = Found([], search.search.omitted, None, search.search.needs)
    with pytest.raises(RunError, match=r"^find: nothing was finished in time; give --minutes 4$"):
        found.check()


def test_what_took_longer_than_it_promised_is_given_twice_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 100)
    keys = [*itertools.product(("a", "b", "c", "d"), ("probe",)), ("small_cnn", AS_SET)]
    search.wrong = {key: OutOfTime() for key in keys}
    search.run()
    assert search.search.needs == 200


def test_where_all_fail_no_minutes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 100)
    keys = [*itertools.product(("a", "b", "c", "d"), ("probe",)), ("small_cnn", AS_SET)]
    search.wrong = {key: RunError("x: is broken") for key in keys}
    search.run()
    assert search.search.needs is None
    with pytest.raises(RunError, match=r"^find: nothing could be tried, for the reasons above; change what they name$"):
        Found([], search.search.omitted, None).check()


def test_a_recipe_that_fails_is_left_out_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 1000)
    search.wrong = {
        ("a", "probe"): InputError("params.yaml: train.model: is too large; choose another"),
        ("b", "probe"): RunError("loss is not finite"),
        ("c", "probe"): OutOfTime(),
    }
    search.run()
    assert [each.why for each in search.search.omitted] == [
        *("params.yaml: train.model: is too large; choose another", "loss is not finite", "was not finished in time")
    ]
    assert {row.recipe.backbone for row in search.search.rows} == {"d", "small_cnn"}


def test_level_rows_are_judged_on_further_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 1000, num_folds=3)
    search.wrong = {(name, "probe"): 30 for name in "abcd"} | {("a", "partial"): 0, ("a", "full"): 1, ("a", "lora"): 60}
    told = search.run()
    counts = {(row.recipe.backbone, row.recipe.way): len(row.right) for row in search.search.rows}
    assert counts["a", "probe"] == 600, "features are computed once"
    assert counts["a", "partial"] == counts["a", "full"] == 600
    assert counts["a", "lora"] == 200
    assert told.count("a partial") == 3
    assert told.count("a lora") == 1


def test_folds_that_are_finished_when_the_time_is_over_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    search = ImaginedSearch(monkeypatch, 1000, num_folds=3)

    def run(imagined: Imagined) -> Iterator[Measured]:
        yield Measured(imagined.folds[0], np.ones(200, np.bool_), 1.0, 5.0, 100.0)
        raise OutOfTime

    monkeypatch.setattr(Imagined, "run", run)
    monkeypatch.setattr(Search, "try_further_folds", lambda _: None)
    search.run()
    assert {len(row.right) for row in search.search.rows if row.recipe.way == PROBE} == {200}
