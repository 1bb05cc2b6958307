"""What twice the images would give: true to known laws, and nothing where the curve is not determined."""

import numpy as np
import pytest

from darkroom.labels.growth import Growth
from darkroom.labels.power_law import forecast

SIZES = np.round(200 * 2 ** (-np.arange(8)[::-1] / 2))


def measured(errors: np.ndarray, images: int = 600, seed: int = 0, sizes: np.ndarray = SIZES) -> Growth:
    """Two draws: an image is wrong where its difficulty, much the same in both, is below the error."""
    random = np.random.default_rng(seed)
    difficulty = random.random(images)
    again = np.where(random.random((2, len(sizes), images)) < 0.3, random.random((2, len(sizes), images)), difficulty)
    return Growth(sizes, again < errors[None, :, None], np.arange(images), is_cross_validated=True)


@pytest.mark.parametrize(
    ("floor", "scale", "exponent"), [(0.0, 0.04, 0.5), (0.02, 0.03, 0.8), (0.05, 0.05, 0.3), (0.0, 0.1, 1.0)]
)
def test_the_gain_of_a_known_law_lies_within_the_interval(floor: float, scale: float, exponent: float) -> None:
    errors = floor + scale * (SIZES / 200) ** -exponent
    true = scale * (1 - 2**-exponent)
    covered, widths = 0, []
    for seed in range(30):
        found = forecast(measured(errors, seed=seed), 200)
        if found.doubt:
            continue
        low, middle, high = found.gain()
        assert low < middle < high
        covered += low <= true <= high
        widths.append(high - low)
        now, later = found.accuracies(np.array([200.0, 400.0]))[1]
        assert later - now == pytest.approx(middle, abs=0.005)
    assert len(widths) >= 20
    assert covered >= 0.85 * len(widths)
    assert np.mean(widths) < 2 * true + 0.01


def test_equal_input_gives_equal_numbers() -> None:
    growth = measured(0.01 + 0.05 * (SIZES / 200) ** -0.5)
    assert forecast(growth, 200).gain() == forecast(growth, 200).gain()


@pytest.mark.parametrize(
    ("growth", "doubt"),
    [
        (measured(np.array([0.3, 0.2, 0.1]), sizes=np.array([10.0, 14.0, 20.0])), "too few images to measure a curve"),
        (measured(0.002 * (SIZES / 200) ** -1.0, images=300), "are classified wrongly, too few"),
        (measured(np.full(8, 0.2)), "does not grow with the number of images"),
        (measured(np.array([0.6, 0.59, 0.2, 0.6, 0.59, 0.1, 0.58, 0.4]), images=4000), "is no power law"),
        (measured(0.02 + 0.08 * (SIZES / 200) ** -0.4, images=60, seed=3), ""),
    ],
)
def test_what_is_not_determined_is_not_said(growth: Growth, doubt: str) -> None:
    found = forecast(growth, float(growth.sizes[-1]))
    assert doubt in found.doubt
    assert bool(found.doubt) or doubt == ""
