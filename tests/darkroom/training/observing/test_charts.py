"""Charts of a training: titles, units, axes from zero; looked at before they are pixels."""

import csv
import itertools
import math
import time
from pathlib import Path

import pytest
from PIL import Image

from darkroom.training.observing import charts, system


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[charts.Chart]:
    """Collect the charts that are drawn."""
    found: list[charts.Chart] = []
    render = charts.render

    def rendered(chart: charts.Chart) -> Image.Image:
        found.append(chart)
        return render(chart)

    monkeypatch.setattr(charts, "render", rendered)
    return found


def draw(folder: Path, number: int, seconds: float, gpu: str = "") -> None:
    """Draw samples that are some seconds apart."""
    with (folder / "machine.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, system.COLUMNS)
        writer.writeheader()
        for place in range(number):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(1e9 + seconds * place))
            row = {"time": when, "step": place, "images_per_second": 500 + place, "training_gb": 1.2 + place / 100}
            writer.writerow(row | {"cpu_percent": 90, "memory_percent": 12, "gpu_percent": gpu, "gpu_memory_percent": gpu})
    system.draw(folder / "machine.csv", folder / "machine.png")


def test_the_chart_of_the_machine_has_a_title_seconds_units_and_starts_at_zero(tmp_path: Path, drawn: list[charts.Chart]) -> None:
    draw(tmp_path, 20, 3)
    [chart] = drawn
    assert chart.title.startswith("Machine during the training: ")
    assert [panel.y.label for panel in chart.panels] == ["images per second", "%", "memory of the\ntraining, GB"]
    assert chart.x.label == "seconds since the first measurement"
    assert list(chart.values) == [3.0 * place for place in range(20)]
    assert [panel.y.low for panel in chart.panels] == [0, 0, 0]
    assert chart.panels[2].y.high > 1.39
    assert list(chart.panels[1].lines) == ["processor", "memory of the machine"]
    with Image.open(tmp_path / "machine.png") as image:
        assert image.size == (900, 720)


@pytest.mark.parametrize(("seconds", "unit", "last"), [(60, "seconds", 1140), (120, "minutes", 38), (7200, "hours", 38)])
def test_a_long_training_has_minutes_or_hours(
    tmp_path: Path, drawn: list[charts.Chart], seconds: float, unit: str, last: float
) -> None:
    draw(tmp_path, 20, seconds, gpu="50")
    assert drawn[0].x.label.startswith(unit)
    assert drawn[0].values[-1] == last
    assert list(drawn[0].panels[1].lines)[2:] == ["GPU", "memory of the GPU"]


COLOURS = [tuple(bytes.fromhex(colour[1:])) for colour in charts.COLOURS]


def pixels(path: Path, colour: int) -> list[tuple[int, int]]:
    """Return the places of a line's colour in a chart."""
    with Image.open(path) as image:
        return [(x, y) for x in range(image.width) for y in range(image.height) if image.getpixel((x, y)) == COLOURS[colour]]


def test_one_sample_can_be_seen(tmp_path: Path) -> None:
    draw(tmp_path, 1, 1)
    frames = [range(58, 231), range(278, 451), range(498, 671)]
    places = pixels(tmp_path / "machine.png", 0)
    assert all(any(y in frame for _, y in places) for frame in frames)


def test_a_line_rises_to_the_right_with_a_gap_and_stays_in_its_frame(tmp_path: Path) -> None:
    x = [float(place) for place in range(60)]
    values = [math.nan if 20 <= place < 30 else place / 10 for place in x]
    charts.draw_lines(tmp_path / "line.png", x, {"y": {"line": values}}, title="title", x_label="x")
    places = pixels(tmp_path / "line.png", 0)
    first, last = min(places), max(places)
    assert first[1] > last[1]
    assert all(charts.LEFT <= x <= 900 - charts.RIGHT for x, _ in places)
    columns = sorted({x for x, _ in places})
    assert max(after - before for before, after in itertools.pairwise(columns)) > 50


def test_a_mark_and_rates_of_many_powers_are_named(tmp_path: Path, drawn: list[charts.Chart]) -> None:
    rates = [1e-6 * 1.2**place for place in range(60)]
    charts.draw_lines(tmp_path / "lr.png", rates, {"loss": {"loss": rates}}, title="t", x_label="r", log_x=True, mark=0.0032)
    assert [f"{tick:g}" for tick in drawn[0].x.ticks()] == ["1e-06", "1e-05", "0.0001", "0.001", "0.01"]
    with Image.open(tmp_path / "lr.png") as image:
        across = round(charts.LEFT + drawn[0].x.share(0.0032) * (900 - charts.RIGHT - charts.LEFT))
        column = [image.getpixel((x, y)) for x in (across - 1, across, across + 1) for y in range(60, 200)]
    assert any(max(pixel) < 130 for pixel in column if isinstance(pixel, tuple))


@pytest.mark.parametrize(
    ("low", "high", "is_log", "ticks"),
    [
        (0, 103, False, [0, 20, 40, 60, 80, 100]),
        (0, 1.4, False, [0, 0.25, 0.5, 0.75, 1, 1.25]),
        (-0.31, 0.31, False, [-0.2, 0, 0.2]),
        (15, 70, True, [20, 50]),
        (7, 600, True, [10, 100]),
    ],
)
def test_numbers_at_an_axis_are_round(low: float, high: float, is_log: bool, ticks: list[float]) -> None:
    assert charts.Axis(low, high, "", is_log).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize("values", [[], [math.nan], [3.0, 3.0], [0.0], [1e-12, 2e-12], [1e300, 2.0]])
def test_any_values_have_an_axis(tmp_path: Path, values: list[float]) -> None:
    x = [float(place + 1) for place in range(len(values))]
    charts.draw_lines(tmp_path / "any.png", x, {"y": {"line": values}}, title="t", x_label="x", from_zero=True)
    charts.draw_lines(tmp_path / "any.png", x, {"y": {"line": values}}, title="t", x_label="x", log_x=True, mark=2.0)
