"""Charts: round ticks, gaps where there is no number, colours of the page alone."""

import math
import re

import pytest

from darkroom.pages.charts import bar, interval, shortened, tick_texts, ticks
from darkroom.pages.lines import Point, Series, line_chart, reliability_chart
from darkroom.pages.scatter import Spot, map_chart


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.62, 0.98, [0.6, 0.7, 0.8, 0.9, 1.0]),
        (0.3, 0.3, [-0.2, 0.0, 0.2, 0.4, 0.6, 0.8]),
        (0, 12345, [0.0, 5000.0, 10000.0, 15000.0]),
        (math.nan, 1, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1e-5, 9e-5, [0.0, 2e-5, 4e-5, 6e-5, 8e-5, 1e-4]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_epochs_are_whole_and_within() -> None:
    assert ticks(1, 20, whole=True) == [5, 10, 15, 20]
    assert ticks(1, 2, whole=True) == [1, 2]
    assert ticks(1, 1, whole=True) == [1]


def test_texts_of_ticks_tell_them_apart() -> None:
    assert tick_texts([0.0, 0.25, 0.5]) == ["0.00", "0.25", "0.50"]
    assert tick_texts([0, 5000.0]) == ["0", "5000"]
    assert tick_texts([0.0, 2e-5]) == ["0", "2e-05"]
    assert tick_texts([]) == []


def test_a_long_name_keeps_both_ends() -> None:
    assert shortened("short", 100) == "short"
    assert shortened("a" * 50 + "z" * 50, 66) == "aaaaa…zzzz"


def line(*values: float) -> str:
    points = [Point(epoch, value) for epoch, value in enumerate(values, 1)]
    return line_chart([Series("val", points, marked=2)], x_label="epoch", label="Loss").markup


def test_a_number_that_is_none_is_a_gap() -> None:
    drawn = line(1.0, 0.5, math.nan, 0.3, 0.2)
    assert len(re.findall(r'<path d="M[^"]*"', drawn)) == 2
    assert "nan" not in drawn
    assert drawn.count("<circle") == 1  # the mark


@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.5), (math.nan, 0.5, math.nan), (-1e9, 1e9), (math.inf, 1.0)])
def test_few_or_extreme_values_are_drawn(values: tuple[float, ...]) -> None:
    drawn = line(*values)
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_no_colour_but_those_of_the_page() -> None:
    """Or a chart would be dark on dark."""
    series = [Series(name, [Point(0.1, 0.2, 0.1, 0.3), Point(0.5, 0.5)], place, place == 1) for place, name in enumerate("ab")]
    charts = [line_chart(series, x_label="x", label="y"), reliability_chart(series), bar([1, 2], 3)]
    charts.append(map_chart([Spot(0, 0, 1), Spot(2, 1, 9, ringed=True)], [(0, 0, "<a>")], label="map"))
    one = interval(0.5, 0.4, 0.6, start=0.0)
    assert one is not None
    for chart in (*charts, one):
        used = set(re.findall(r'(?:fill|stroke|background)[=:]"?([^";]+)', chart.markup))
        assert all(each == "none" or each.startswith("var(--") for each in used), used


def test_a_legend_only_where_there_are_several() -> None:
    one = Series("<one>", [Point(1, 1), Point(2, 2)])
    assert "legend" not in line_chart([one], x_label="x", label="y").markup
    both = line_chart([one, Series("two", [Point(1, 2)], 1, dashed=True)], x_label="x", label="y").markup
    assert "&lt;one&gt;" in both
    assert "<one>" not in both
    assert both.count("stroke-dasharray") == 1  # in the legend; its line is a dot


def test_an_interval_without_a_value_is_empty() -> None:
    assert interval(math.nan, None, None, start=0.0) is None


def test_points_of_a_map_all_at_one_place() -> None:
    assert "nan" not in map_chart([Spot(1, 1, 0), Spot(1, 1, 0)], [], label="map").markup


@pytest.mark.parametrize("values", [(0.7,), (0.0,), (1.0, 1.0), (0.2, 0.9)])
def test_the_axis_of_a_share_stays_between_0_and_1(values: tuple[float, ...]) -> None:
    points = [Point(epoch, value) for epoch, value in enumerate(values)]
    drawn = line_chart([Series("a", points)], x_label="epoch", label="accuracy", is_share=True).markup
    ticks_of_y = [float(text) for text in re.findall(r'text-anchor="end" class="tick">([^<]+)', drawn)]
    assert len(ticks_of_y) >= 2
    assert min(ticks_of_y) >= 0
    assert max(ticks_of_y) <= 1
