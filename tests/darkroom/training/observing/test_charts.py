"""Charts of a training: titles, units, axes from zero; looked at before they are pixels."""

import csv
import time
from pathlib import Path
from typing import Any

import matplotlib.figure
import pytest

from darkroom.training.observing import system


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Collect the figures that are saved."""
    figures: list[Any] = []
    save = matplotlib.figure.Figure.savefig

    def saved(self: Any, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", saved)
    return figures


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


def test_the_chart_of_the_machine_has_a_title_seconds_units_and_starts_at_zero(tmp_path: Path, drawn: list[Any]) -> None:
    draw(tmp_path, 20, 3)
    speed, load, memory = drawn[0].axes
    assert speed.get_title(loc="left").startswith("Machine during the training: ")
    assert [axes.get_ylabel() for axes in drawn[0].axes] == ["images per second", "%", "memory of the\ntraining, GB"]
    assert memory.get_xlabel() == "seconds since the first measurement"
    assert list(memory.lines[0].get_xdata()) == [3.0 * place for place in range(20)]
    assert [axes.get_ylim()[0] for axes in drawn[0].axes] == [0, 0, 0]
    assert memory.get_ylim()[1] > 1.39
    assert [line.get_label() for line in load.lines] == ["processor", "memory of the machine"]


@pytest.mark.parametrize(("seconds", "unit", "last"), [(60, "seconds", 1140), (120, "minutes", 38), (7200, "hours", 38)])
def test_a_long_training_has_minutes_or_hours(tmp_path: Path, drawn: list[Any], seconds: float, unit: str, last: float) -> None:
    draw(tmp_path, 20, seconds, gpu="50")
    assert drawn[0].axes[-1].get_xlabel().startswith(unit)
    assert drawn[0].axes[-1].lines[0].get_xdata()[-1] == last
    assert [line.get_label() for line in drawn[0].axes[1].lines][2:] == ["GPU", "memory of the GPU"]


def test_one_sample_can_be_seen(tmp_path: Path, drawn: list[Any]) -> None:
    draw(tmp_path, 1, 1)
    assert [line.get_marker() for axes in drawn[0].axes for line in axes.lines] == ["o"] * 4
