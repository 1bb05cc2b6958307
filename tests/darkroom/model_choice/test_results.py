"""Which rows are level, which is proposed, and what a person reads of it."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.model_choice.chart import draw
from darkroom.model_choice.recipes import Recipe
from darkroom.model_choice.results import LeftOut, Row, beats, level, ranked
from darkroom.model_choice.table import lines, write_table
from darkroom.model_choice.trial import Measured


def row(name: str, wrong: range, speed: float, *, rows: range = range(100), way: str = "probe") -> Row:
    """Return a row that predicts some images wrongly."""
    numbers = np.array(rows)
    right = ~np.isin(numbers, list(wrong))
    recipe = Recipe(name, way, (f"ways/{way}",), (f"train.model.name={name}",))
    return Row(recipe, (Measured(numbers, right, float(right.mean()), 10.0, speed),))


def test_a_row_beats_another_beyond_chance_only() -> None:
    good, near, bad = row("good", range(2), 10), row("near", range(5), 10), row("bad", range(20), 10)
    assert beats(good, bad)
    assert not beats(bad, good)
    assert not beats(good, near), "three images may be chance"


def test_rows_are_compared_on_images_that_both_were_judged_on() -> None:
    """20 further images that one alone was judged on are no reason."""
    one = row("one", range(0), 10, rows=range(100))
    other = row("other", range(100, 120), 10, rows=range(120))
    assert not beats(one, other)
    apart = row("apart", range(200, 220), 10, rows=range(200, 300))
    assert not beats(one, apart)


def test_of_level_rows_the_fastest_is_proposed() -> None:
    slow, fast, bad = row("slow", range(1), 10), row("fast", range(3), 50), row("bad", range(30), 500)
    assert [each.recipe.backbone for each in ranked([bad, fast, slow])] == ["slow", "fast", "bad"]
    assert [each.recipe.backbone for each in level([bad, fast, slow])] == ["fast", "slow"]
    text = lines([bad, fast, slow], [LeftOut(Recipe("large", "full"), "needs about 9.0 min, and 20 s were left")])
    assert "not tried: large, full: needs about 9.0 min, and 20 s were left" in text
    assert "find: rows 1 and 2 are level; of these row 2 is the fastest" in text
    assert text[-1] == "find: to run it, type: dvc exp run $(./darkroom preset ways/probe) -S train.model.name=fast"


def test_one_row_that_is_better_is_the_best() -> None:
    text = lines([row("bad", range(40), 500), row("good", range(1), 5)], [])
    assert "find: row 1 is the best" in text
    assert "train.model.name=good" in text[-1]
    assert lines([], []) == []


def test_the_interval_is_wilsons() -> None:
    low, high = row("one", range(0), 1).interval
    assert (round(low, 3), high) == (0.963, 1.0)


def test_the_table_as_csv(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", [row("bad", range(40), 500), row("good", range(1), 5)])
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(each["backbone"], each["accuracy"], each["level"]) for each in found] == [
        ("good", "0.990000", "true"),
        ("bad", "0.600000", "false"),
    ]
    assert found[0]["line"].startswith("dvc exp run $(./darkroom preset ways/probe)")
    assert float(found[0]["low"]) < 0.99 < float(found[0]["high"])


@pytest.mark.filterwarnings("ignore")
def test_the_chart(tmp_path: Path) -> None:
    draw(tmp_path / "model.png", [row("bad", range(40), 500, way="full"), row("good", range(1), 5)])
    assert Image.open(tmp_path / "model.png").size[0] >= 500
