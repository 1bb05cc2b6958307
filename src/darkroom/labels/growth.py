"""How accuracy grows with the number of training images, measured with logistic heads on features.

N images that are judged, D features, K classes, S sizes of the training set, R draws.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from darkroom.transfer.logistic_head import choose_strength, fit_logistic

Features = NDArray[np.float32]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# Validation is judged alone from so many images on: an interval of an accuracy of 0.95 is then about 2 points to each side.
FEWEST_JUDGED = 500
FOLDS, DRAWS = 10, 2
# With more images one draw differs little from another, and takes minutes.
MANY = 3000
# Each size is so many times the next smaller one; the smallest is this part of the largest, with an image a class at least.
STEP, PART = 2**0.5, 1 / 12


@dataclass(frozen=True)
class Images:
    """Images with features.

    Attributes
    ----------
    features : (n, D) float32
        Of length 1.
    labels : (n,) int64
    units : (n,) int64
        Images with equal numbers are never divided between those that are trained on and those that are judged.
    """

    features: Features
    labels: Integers
    units: Integers

    def take(self, rows: Integers) -> "Images":
        """Return some of the images."""
        return Images(self.features[rows], self.labels[rows], self.units[rows])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Growth:
    """What was measured.

    Attributes
    ----------
    sizes : (S,) float64
        Mean number of training images, ascending.
    wrong : (R, S, N) bool
        Which judged images were classified wrongly.
    units : (N,) int64
        Of the judged images: those of one unit are not independent of each other.
    is_cross_validated
        Whether every image was judged by heads that were fitted to others; else validation was judged.
    """

    sizes: Floats
    wrong: NDArray[np.bool_]
    units: Integers
    is_cross_validated: bool

    @property
    def errors(self) -> Floats:
        """The share of wrong images for each size, (S,)."""
        shares: Floats = self.wrong.mean(axis=(0, 2))
        return shares

    def covariance(self) -> Floats:
        """Return the covariance (S, S) of `errors`: of the images that are judged, and of the draws that are trained on."""
        _, members = np.unique(self.units, return_inverse=True)
        deviations = self.wrong.mean(axis=0) - self.errors[:, None]  # (S, N)
        sums = np.zeros((int(members.max()) + 1, len(self.sizes)))
        np.add.at(sums, members, deviations.T)
        # Sizes are judged on the same images, so that their errors go up and down together.
        covariance: Floats = sums.T @ sums / self.wrong.shape[2] ** 2
        if len(self.wrong) > 1:
            covariance += np.diag(self.wrong.mean(axis=2).var(axis=0, ddof=1) / len(self.wrong))
        # What is left of it without a mistake: that of an image and a half in all, as by Laplace's rule.
        count = self.wrong.shape[2]
        smooth = (self.errors * count + 1) / (count + 2)
        covariance += np.diag(0.02 * smooth * (1 - smooth) / count)
        return covariance


def measure_growth(train: Images, val: Images, num_classes: int, *, seed: int = 0) -> Growth:
    """Fit heads to growing parts of the images, and judge them on others; with a progress bar on a terminal.

    With `FEWEST_JUDGED` images of validation or more these are judged; else train and validation are divided into folds, and
    each is judged by heads that were fitted to parts of the others.

    Parameters
    ----------
    train, val
        Images of these splits.
    num_classes
        K.
    seed
        Of folds and draws.
    """
    crossed = len(val) < FEWEST_JUDGED
    every = joined(train, val)
    judged = np.arange(len(every)) if crossed else np.arange(len(train), len(every))
    random = np.random.default_rng(seed)
    draws = 1 if len(every) > MANY else DRAWS
    parts = [
        (draw, kept, left_out)
        for draw in range(draws)
        for kept, left_out in (_folds(every, random) if crossed else [(np.arange(len(train)), judged)])
    ]
    every = rotated(every)
    fractions = _fractions(every.labels[parts[0][1]], num_classes)
    wrong = np.zeros((draws, len(fractions), len(every)), bool)
    counts = np.zeros(len(fractions))
    strengths: list[float | None] = [None] * len(fractions)
    shown = track(parts, "heads", console=Console(), transient=True, disable=not sys.stdout.isatty())
    for draw, kept, left_out in shown:
        ranks = growing_order(every.labels[kept], every.units[kept], random)
        for place, fraction in enumerate(fractions):
            part = every.take(kept[_within(ranks, every.labels[kept], fraction)])
            if strengths[place] is None:  # it hardly differs between draws, and choosing it takes as long as a draw
                strengths[place] = choose_strength(part.features, part.labels, groups=part.units, seed=seed)
            head = fit_logistic(part.features, part.labels, num_classes=num_classes, strength=strengths[place])
            found = head.logits(every.features[left_out]).argmax(axis=1)
            wrong[draw, place, left_out] = found != every.labels[left_out]
            counts[place] += len(part)
    return Growth(counts / len(parts), wrong[:, :, judged], every.units[judged], crossed)


def joined(first: Images, second: Images) -> Images:
    """Return the images of both, in this order."""
    return Images(
        np.concatenate([first.features, second.features]),
        np.concatenate([first.labels, second.labels]),
        np.concatenate([first.units, second.units]),
    )


def rotated(images: Images) -> Images:
    """Return the images with as few features as describe them without loss; a logistic regression on these is the same."""
    if images.features.shape[1] <= len(images):
        return images
    # numpy's types know only the mode with both factors.
    triangle: Floats = np.asarray(np.linalg.qr(images.features.T.astype(np.float64), mode="r"), np.float64)
    return Images(triangle.T.astype(np.float32), images.labels, images.units)


def growing_order(labels: Integers, units: Integers, random: np.random.Generator) -> Integers:
    """Return the place (n,) of each image within its class, in an order by chance in which units stay together."""
    _, members = np.unique(units, return_inverse=True)
    order = np.argsort(random.permutation(int(members.max()) + 1)[members], kind="stable")
    ranks = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        ranks[of_class] = np.arange(len(of_class))
    return ranks


def _within(ranks: Integers, labels: Integers, fraction: float) -> NDArray[np.bool_]:
    """Return which images are the first `fraction` of their class, one at least."""
    most = np.maximum(1, np.rint(fraction * np.bincount(labels))).astype(np.int64)
    first: NDArray[np.bool_] = ranks < most[labels]
    return first


def _fractions(labels: Integers, num_classes: int) -> list[float]:
    """Return the parts of the training images that heads are fitted to, ascending; all of different sizes, the last is 1."""
    counts = np.bincount(labels, minlength=num_classes)
    usual = counts[counts > 0].mean()
    found: list[float] = []
    fraction = 1.0
    while fraction >= PART and fraction * usual >= 1 - 1e-9:
        if not found or round(fraction * usual) < round(found[-1] * usual):
            found.append(fraction)
        fraction /= STEP
    return found[::-1]


def _folds(images: Images, random: np.random.Generator) -> Iterator[tuple[Integers, Integers]]:
    """Yield rows to train on and rows to judge."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    folds = max(2, min(FOLDS, len(np.unique(images.units)), int(np.bincount(images.labels).max())))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=int(random.integers(2**31)))
    with warnings.catch_warnings():
        # A class of fewer images than folds is not judged in all of them.
        warnings.simplefilter("ignore", UserWarning)
        yield from splitter.split(images.features, images.labels, images.units)
