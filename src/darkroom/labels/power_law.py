"""What twice the images would give: the error as a power law of the number of images, with a floor below it.

S sizes, P sampled curves, X numbers of images. The error of n images is floor + scale * n ** -exponent.

References
----------
J. Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017; T. Viering and M. Loog, "The Shape of Learning
Curves: a Review", 2021.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from darkroom.labels.growth import Growth

Floats = NDArray[np.float64]

TIMES = 2.0
EXPONENTS = np.linspace(0.05, 1.5, 59)
# As parts of the present error; the closer to 0 the more there are, so that half of them are below a quarter.
FLOORS = np.linspace(0, 1, 51) ** 2
NUM_CURVES = 4000
LEVEL = (0.025, 0.5, 0.975)
# Curves follow a power law only so closely: a deviation of this share of the error is no surprise.
MISFIT = 0.05
# The images of every size are among those of the next: one set of images, whose own luck no draw among them shows. Chosen with
# benchmarks/few_labels.py, so that intervals hold what they promise.
INFLATION = 2.0
FEWEST_SIZES, FEWEST_WRONG = 4, 5
# Beyond these, what was measured does not follow the law, or says too little.
MOST_DEVIATION, WIDEST_SHARE, WIDEST = 4.0, 0.6, 0.01


@dataclass(frozen=True)
class Forecast:
    """Curves that agree with what was measured.

    Attributes
    ----------
    exponents, floors, scales : (P,) float64
        Of the curves: `scales` are those of the number of images in units of `now`.
    now
        Number of training images that there are.
    doubt
        Why no more than what was measured should be said; empty if the curve is determined.
    """

    exponents: Floats
    floors: Floats
    scales: Floats
    now: float
    doubt: str = ""

    def accuracies(self, counts: Floats) -> Floats:
        """Return low, middle and high accuracy (3, X) for numbers of images (X,)."""
        powers = (np.asarray(counts, np.float64) / self.now)[:, None] ** -self.exponents  # (X, P)
        accuracies: Floats = np.quantile(1 - self.floors - self.scales * powers, LEVEL, axis=1)
        return accuracies

    def gain(self, times: float = TIMES) -> tuple[float, float, float]:
        """Return low, middle and high gain in accuracy by so many times the images.

        It is that of an average over draws of the images: another draw, and the images that are tested, add chance of their own.
        """
        low, middle, high = np.quantile(self.scales * (1 - times**-self.exponents), LEVEL).tolist()
        return low, middle, high


def forecast(growth: Growth, now: float, *, seed: int = 0) -> Forecast:
    """Sample curves by how well they agree with what was measured.

    All of `EXPONENTS` and all of `FLOORS` are as probable beforehand. Whether there is a floor can hardly be seen in a curve, so
    curves with and without one are weighed by the data, where a best fit would choose one.

    Parameters
    ----------
    growth
        What was measured.
    now
        Number of training images that there are.
    seed
        Of the sample.
    """
    sizes, errors = growth.sizes / now, growth.errors
    doubt = _doubt_of_data(growth)
    if doubt:
        return Forecast(np.ones(1), np.zeros(1), np.zeros(1), now, doubt)
    covariance = INFLATION * growth.covariance() + np.diag((MISFIT * errors) ** 2)
    precision = np.linalg.inv(covariance)
    present = errors[-3:].mean()
    exponents, floors = (grid.ravel() for grid in np.meshgrid(EXPONENTS, present * FLOORS, indexing="ij"))
    powers = sizes ** -exponents[:, None]  # (exponents x floors, S)
    above = errors - floors[:, None]
    # The scale is linear: its best value and its variance are known for every exponent and floor.
    curvature = np.einsum("gs,st,gt->g", powers, precision, powers)
    best = np.einsum("gs,st,gt->g", powers, precision, above) / curvature
    deviation = np.einsum("gs,st,gt->g", above, precision, above) - best**2 * curvature
    weight = np.exp((deviation.min() - deviation) / 2) / np.sqrt(curvature) * (best > 0)
    random = np.random.default_rng(seed)
    chosen = random.choice(len(weight), NUM_CURVES, p=weight / weight.sum())
    scales = np.abs(best[chosen] + random.normal(size=NUM_CURVES) / np.sqrt(curvature[chosen]))
    found = Forecast(exponents[chosen], floors[chosen], scales, now)
    doubt = _doubt_of_fit(found, deviation.min() / max(1, len(sizes) - 2), float(present))
    return Forecast(exponents[chosen], floors[chosen], scales, now, doubt)


def _doubt_of_data(growth: Growth) -> str:
    """Return why nothing can be fitted, or an empty text."""
    if len(growth.sizes) < FEWEST_SIZES:
        return "the classes have too few images to measure a curve; label a few more of each"
    wrong = growth.errors * growth.wrong.shape[2]
    if wrong[-1] < FEWEST_WRONG:
        few = f"of {growth.wrong.shape[2]} images only {wrong[-1]:.3g} are classified wrongly"
        return f"{few}, too few to see how mistakes become rarer"
    # The first two sizes beside the last two, which are judged on the same images.
    contrast = np.zeros(len(wrong))
    contrast[:2], contrast[-2:] = 0.5, -0.5
    if contrast @ growth.errors < 2 * np.sqrt(INFLATION * contrast @ growth.covariance() @ contrast):
        return "accuracy does not grow with the number of images by more than chance"
    return ""


def _doubt_of_fit(found: Forecast, deviation: float, present: float) -> str:
    """Return why the curves say too little, or an empty text; `deviation` is the squared one of the best curve, 1 being usual."""
    if deviation > MOST_DEVIATION:
        return "what was measured is no power law of the number of images"
    low, _, high = found.gain()
    if high - low > max(WIDEST_SHARE * present, WIDEST):
        return f"it could be anything between {100 * low:+.1f} and {100 * high:+.1f} points"
    return ""
