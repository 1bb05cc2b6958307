"""`./darkroom labels curve`: which images are judged, the table and the sentence of a learning curve."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.features.backbone import open_backbone
from darkroom.features.extract import pack_features
from darkroom.labels.growth import FEWEST_JUDGED, Growth, Images, measure_growth
from darkroom.labels.power_law import TIMES, Forecast, forecast
from darkroom.labels.suspects import find_units
from darkroom.metrics.bootstrap import wilson
from darkroom.reporting.csv_table import write_csv
from darkroom.splitting.units import group_names

# More images of a split are sampled: features of them take minutes, and a curve of as many is as exact.
MOST = 10_000
HEADER = ("images_per_class", "images", "accuracy", "low", "high", "kind")
MEASURED, EXPECTED = "measured", "expected"


@dataclass(frozen=True)
class Point:
    """An accuracy with its interval, for a number of images.

    Attributes
    ----------
    per_class
        Mean number of training images of a class.
    images
        Number of training images.
    accuracy, low, high
        With 95 %.
    kind
        `measured` or `expected`.
    """

    per_class: float
    images: int
    accuracy: float
    low: float
    high: float
    kind: str


@dataclass(frozen=True)
class Curve:
    """A learning curve.

    Attributes
    ----------
    growth
        What was measured.
    forecast
        What more images would give.
    num_classes
        K.
    now
        Number of training images.
    left_out
        Number of images of train that were not looked at.
    are_grouped
        Whether images stand in groups, of which more images would bring more.
    backbone
        Name of the network of the features.
    """

    growth: Growth
    forecast: Forecast
    num_classes: int
    now: int
    left_out: int = 0
    are_grouped: bool = False
    backbone: str = ""

    @property
    def points(self) -> list[Point]:
        """Return what was measured, and what is expected of twice the images."""
        count = len(self.growth.units)
        found = []
        for size, error in zip(self.growth.sizes.tolist(), self.growth.errors.tolist(), strict=True):
            low, high = wilson(1 - error, count)
            found.append(Point(size / self.num_classes, round(size), 1 - error, low, high, MEASURED))
        if not self.forecast.doubt:
            more = TIMES * self.now
            low, middle, high = self.forecast.accuracies(np.array([more]))[:, 0].tolist()
            found.append(Point(more / self.num_classes, round(more), middle, low, high, EXPECTED))
        return found


def check_task(pack: Pack, split: Split) -> None:
    """Refuse data of which there is no curve.

    Raises
    ------
    InputError
        If an image may have any number of classes, or there are not two images of each of two classes.
    """
    if is_multilabel(pack.labels):
        raise InputError("data/raw: its images may have any number of classes; labels curve is for sets of one label per image")
    counts = np.bincount(np.asarray(pack.labels[split.rows["train"]], np.int64))
    if (counts > 1).sum() < 2:
        raise InputError("data/split: train has fewer than two classes of two images, too few for a curve; label more of each")


def sampled(rows: Rows, seed: int) -> Rows:
    """Return at most `MOST` of the rows, ascending."""
    return rows if len(rows) <= MOST else np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])


def measure_curve(pack: Pack, split: Split, params: Params, backbone: str | None = None) -> Curve:
    """Measure how accuracy grows with the images of train; those of test are not looked at.

    Parameters
    ----------
    pack, split
        Of the workspace.
    params
        Sections `base`, `split`, `train` and `hardware`: groups, near duplicates, seed, threads, device.
    backbone
        A network of timm, or the folder of a published model; None: the best one that is installed.

    Raises
    ------
    InputError
        If an image may have any number of classes, train has too few images, or there is no such network.
    """
    check_task(pack, split)
    pack.withhold(split.rows["test"])
    seed = params.split.seed_or(params.base.seed)
    units = find_units(pack, params.split).numbers
    opened = open_backbone(backbone, hardware=params.hardware, channels=pack.channels, threads=params.train.threads)
    train, val = (sampled(split.rows[name], seed) for name in ("train", "val"))
    rows = np.concatenate([train, val])
    every = Images(pack_features(opened, pack, rows), np.asarray(pack.labels[rows], np.int64), units[rows])
    places = np.arange(len(rows))
    parts = every.take(places[: len(train)]), every.take(places[len(train) :])
    growth = measure_growth(*parts, len(split.classes), seed=seed)
    return Curve(
        growth,
        forecast(growth, len(train), seed=seed),
        num_classes=len(split.classes),
        now=len(train),
        left_out=len(split.rows["train"]) - len(train),
        are_grouped=any(name is not None for name in group_names(pack, params.split.group_pattern)),
        backbone=opened.name,
    )


def lines(curve: Curve) -> list[str]:
    """Return the table for the terminal, and what there is to know of it."""
    growth = curve.growth
    how = (
        f"train and val in folds ({len(growth.units)} images, since val has fewer than {FEWEST_JUDGED})"
        if growth.is_cross_validated
        else f"val ({len(growth.units)} images)"
    )
    found = [f"logistic heads on features of {curve.backbone}, judged on {how}", ""]
    found.append(f"{'a class':>8}  {'images':>7}  {'accuracy':>8}  95 %")
    for point in curve.points:
        note = "" if point.kind == MEASURED else f"  {EXPECTED}"
        interval = f"{point.low:.4f} to {point.high:.4f}"
        found.append(f"{count_text(point.per_class):>8}  {point.images:>7}  {point.accuracy:>8.4f}  {interval}{note}")
    if curve.are_grouped:
        found.append("images stand in groups: twice the images means twice the groups, not more images of the same ones")
    if curve.left_out:
        found.append(f"{curve.left_out} training images were not looked at: the curve is that of {curve.now} drawn by chance")
    return found


def sentence(curve: Curve) -> str:
    """Return what twice the images would give, or why that cannot be said."""
    if curve.forecast.doubt:
        return f"what twice the photos would give cannot be said: {curve.forecast.doubt}"
    low, middle, high = (f"{100 * gain:+.1f}" for gain in curve.forecast.gain())
    more = f"{count_text(TIMES * curve.now / curve.num_classes)} a class in place of {count_text(curve.now / curve.num_classes)}"
    return f"twice the photos ({more}) would give about {middle} points (95 %: {low} to {high})"


def count_text(number: float) -> str:
    """Return a mean number of images, with one digit where it is small."""
    return f"{number:.0f}" if number >= 10 or abs(number - round(number)) < 0.05 else f"{number:.1f}"


def write_points(path: Path, points: Sequence[Point]) -> None:
    """Write the table as CSV."""
    numbers = [
        (round(each.per_class, 3), each.images, *(round(value, 6) for value in (each.accuracy, each.low, each.high)), each.kind)
        for each in points
    ]
    write_csv(path, HEADER, numbers)
