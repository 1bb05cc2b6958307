"""Forms are measured in turns, within the seconds; the table and the chart say what was measured."""

import csv
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.export.formats import Run
from darkroom.export.speed import Accuracy, Form, Timing, measure_times, peak_memory
from darkroom.export.speed_table import CHART, TABLE, Measured, write

IMAGE = np.zeros((4, 4, 3), np.uint8)
FACTS = {"parameters": 10, "multiply_adds": 20, "threads": 1, "image_size": "4", "tta": "none", "weights_sha256": "0"}


def sleeping(seconds: float, seen: list[Any] | None = None) -> Run:
    """Return a form that takes so many seconds an image."""

    def run(images: np.ndarray) -> tuple[np.ndarray, ...]:
        time.sleep(seconds * len(images))
        if seen is not None:
            seen.append((seconds, len(images)))
        return (np.zeros((len(images), 2), np.float32),)

    return run


def form(name: str, run: Run) -> Form:
    return Form(name, run, lambda: run, 1000)


def test_the_slower_one_is_slower_and_all_take_turns() -> None:
    seen: list[Any] = []
    forms = [form("slow", sleeping(0.004, seen)), form("fast", sleeping(0.001, seen))]
    timings = {(each.form, each.batch_size): each for each in measure_times(forms, IMAGE, [1, 4], 2.5)}
    assert list(timings) == [("slow", 1), ("fast", 1), ("slow", 4), ("fast", 4)]
    for size in (1, 4):
        slow, fast = timings["slow", size], timings["fast", size]
        assert slow.milliseconds(0.5) >= 4 * size
        assert slow.milliseconds(0.5) > 2 * fast.milliseconds(0.5)
        assert fast.images_per_second(0.9) <= fast.images_per_second() <= fast.images_per_second(0.1)
    turns = [seconds for seconds, size in seen if size == 1]
    assert sum(one != other for one, other in pairwise(turns)) > 4, "in turns, not one after the other"


def test_no_longer_than_the_seconds_and_what_had_no_time_is_left_out() -> None:
    begun = time.monotonic()
    timings = measure_times([form("fast", sleeping(0.001)), form("endless", sleeping(0.3))], IMAGE, [1], 0.8)
    assert time.monotonic() - begun < 0.8 + 2 * 0.3 + 0.5
    assert [each.form for each in timings] == ["fast"]


def opening(megabytes: int) -> Callable[[], Run]:
    """Return what opens a form that holds so much; another process can import it."""
    return partial(eval, f"(lambda kept: lambda _: (kept,))(b'x' * {megabytes * 10**6})")


@pytest.mark.sample(1)
@pytest.mark.slow
@pytest.mark.parametrize(("megabytes", "low", "high"), [(300, 290e6, 400e6), (1, 0, 60e6)])
def test_memory_is_that_of_the_form_alone(megabytes: int, low: float, high: float) -> None:
    large = np.ones(500 * 10**6, np.uint8)  # of this process
    found = peak_memory(opening(megabytes), IMAGE[None])
    assert large[0] == 1
    assert found is not None
    assert low <= found <= high


@pytest.mark.thorough
@pytest.mark.slow
def test_memory_of_what_cannot_be_opened_is_not_known() -> None:
    assert peak_memory(partial(eval, "1 / 0"), IMAGE[None]) is None


def test_table_and_chart(tmp_path: Path) -> None:
    timings = [Timing("eager", 1, [0.01] * 9 + [0.02]), Timing("onnx", 1, [0.005] * 10), Timing("onnx", 8, [0.02] * 10)]
    accuracies = {name: Accuracy.of(np.array([True] * 9 + [False])) for name in ("eager", "onnx")}
    forms = [form("eager", sleeping(0)), form("onnx", sleeping(0))]
    measured = Measured(forms, timings, accuracies, {"eager": 5 * 10**6, "onnx": None}, FACTS)
    write(tmp_path / "speed", measured)
    with (tmp_path / "speed" / TABLE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["form"], row["batch_size"], row["p50_ms"], row["images_per_second"]) for row in rows] == [
        ("eager", "1", "10.0", "100.0"), ("onnx", "1", "5.0", "200.0"), ("onnx", "8", "20.0", "400.0")
    ]  # fmt: skip
    assert (rows[0]["peak_megabytes"], rows[1]["peak_megabytes"], rows[0]["accuracy"], rows[0]["images"]) == (
        "5.0",
        "",
        "0.9",
        "10",
    )
    assert float(rows[0]["accuracy_low"]) < 0.9 < float(rows[0]["accuracy_high"])
    assert rows[2]["multiply_adds"] == "20"
    assert measured.cells()[1][:4] == ["onnx", "1", "5", "5"]
    with Image.open(tmp_path / "speed" / CHART) as chart:
        assert chart.size[0] > 800
    assert "- speed.png" in (tmp_path / "speed" / "dvc.yaml").read_text()
