"""Mean and deviation of pixels, exact for few images, of one and the same sample for many."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from darkroom.data import channel_stats
from darkroom.data.channel_stats import measure_channels
from darkroom.data.pack import Pack


def test_grey_images_have_one_channel(digits: Any) -> None:
    rows = digits.split.rows["train"]
    pixels = digits.pack.batch(rows) / 255
    assert measure_channels(digits.pack, rows) == (pytest.approx([pixels.mean()]), pytest.approx([pixels.std()]), len(rows))


def test_colours_are_measured_over_all_pixels_of_images_of_any_size(photos: Any) -> None:
    rows = np.array([0, 1, 59])
    pixels = np.concatenate([photos.pack[int(row)].reshape(-1, 3) for row in rows]) / 255
    mean, std, count = measure_channels(photos.pack, rows)
    assert mean == pytest.approx(pixels.mean(0))
    assert std == pytest.approx(pixels.std(0))
    assert count == 3


def test_of_many_images_a_sample_is_read_always_the_same(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_stats, "SAMPLE", 50)
    rows = digits.split.rows["train"]
    first, second = measure_channels(digits.pack, rows), measure_channels(digits.pack, rows)
    assert first == second
    assert first.num_images == 50
    pixels = digits.pack.batch(rows) / 255
    assert first.mean == pytest.approx([pixels.mean()], abs=0.02)
    assert first.mean != pytest.approx([pixels.mean()])


def test_images_of_one_colour_have_no_deviation(make_pack: Callable[..., Pack]) -> None:
    pack = make_pack([(label, "train", np.full((4, 4), 51, np.uint8)) for label in (0, 1)])
    assert measure_channels(pack, np.array([0, 1])) == ([pytest.approx(0.2)], [pytest.approx(0)], 2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (1, 1, 3), (5, 1, 3)])
def test_slivers_are_measured(make_pack: Callable[..., Pack], shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    pack = make_pack([(0, "train", values), (1, "train", values)])
    assert measure_channels(pack, np.array([0, 1])).mean == pytest.approx(values.reshape(-1, pack.channels).mean(0) / 255)
