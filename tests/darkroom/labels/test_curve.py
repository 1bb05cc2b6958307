"""./darkroom labels curve: the sentence holds what it promises, test stays unread, and the files are what they say."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base import paths
from darkroom.base.errors import InputError, RunError
from darkroom.cli import labels as command
from darkroom.data.pack import Pack, Rows
from darkroom.labels import curve as curves
from darkroom.labels import growth as growths
from darkroom.labels.curve import Curve, lines, sentence
from darkroom.labels.growth import Images, measure_growth
from darkroom.labels.power_law import forecast
from darkroom.transfer.logistic_head import fit_logistic

CLASSES, DIMENSIONS = 6, 32


def like_flowers(count: int, seed: int) -> Images:
    """Features of length 1: each class several clusters in directions of unequal length, as photos of a species are."""
    of_classes, random = np.random.default_rng(0), np.random.default_rng([1, seed])
    lengths = np.arange(1, DIMENSIONS + 1) ** -0.5
    centres = of_classes.normal(size=(CLASSES, 3, DIMENSIONS)) * lengths
    labels = np.arange(count) % CLASSES
    values = centres[labels, random.integers(0, 3, count)] + 0.7 * random.normal(size=(count, DIMENSIONS)) * lengths
    return Images((values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32), labels, np.arange(count))


def curve_of(images: Images, seed: int = 0) -> Curve:
    growth = measure_growth(images, images.take(np.zeros(0, np.int64)), CLASSES, seed=seed)
    return Curve(growth, forecast(growth, len(images)), CLASSES, len(images))


def numbers_of(text: str) -> list[float]:
    return [float(number) / 100 for number in re.findall(r"[+-]\d+\.\d", text)]


def true_gain(count: int, draws: int = 12) -> float:
    """Return the mean gain by twice as many images, on 6 000 others."""
    others = like_flowers(6000, 1000)
    gains = []
    for draw in range(draws):
        images = like_flowers(2 * count, 2000 + draw)
        accuracies = []
        for part in (images.take(np.arange(count)), images):
            head = fit_logistic(part.features, part.labels, num_classes=CLASSES)
            accuracies.append((head.logits(others.features).argmax(axis=1) == others.labels).mean())
        gains.append(accuracies[1] - accuracies[0])
    return float(np.mean(gains))


# What `true_gain` returns of these.
COUNT, TRUTH = 192, 0.0120


@pytest.mark.thorough
def test_half_of_the_images_predict_what_all_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growths, "DRAWS", 1)
    said = sentence(curve_of(like_flowers(COUNT, 3)))
    assert said.startswith("twice the photos (64 a class in place of 32) would give about +")
    middle, low, high = numbers_of(said)
    assert low <= TRUTH <= high
    assert low < middle < high < 0.03


@pytest.mark.thorough
@pytest.mark.slow
def test_the_truth_is_that_of_many_images() -> None:
    assert true_gain(COUNT) == pytest.approx(TRUTH, abs=0.002)


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30, 34))
def test_other_images_predict_it_too(seed: int) -> None:
    curve = curve_of(like_flowers(COUNT, seed), seed)
    low, _, high = curve.forecast.gain()
    assert not curve.forecast.doubt
    assert low <= TRUTH <= high


class Backbone:
    name, digest = "pixels", "0"


class FeaturesAskedError(Exception):
    """Raised in place of computing features."""


@pytest.fixture
def workspace(digits: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The digits, whose features are their pixels."""

    def features(_: Any, pack: Pack, rows: Rows) -> Any:
        values = pack.batch(rows).reshape(len(rows), -1).astype(np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    monkeypatch.setattr(curves, "open_backbone", lambda *_, **__: Backbone())
    monkeypatch.setattr(curves, "pack_features", features)
    monkeypatch.setattr(curves, "MOST", 120)
    monkeypatch.setattr(growths, "DRAWS", 1)
    monkeypatch.setattr(paths, "RAW", digits.raw)
    monkeypatch.setattr(paths, "SPLIT", digits.raw.parent / "split")
    monkeypatch.setattr(paths, "logs_dir", lambda: tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_command_prints_draws_and_writes(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["curve", "--out", str(workspace / "curve.csv")])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("logistic heads on features of pixels, judged on train and val in folds (")
    assert any("training images were not looked at" in line for line in printed)
    assert re.match(r"labels curve: twice the photos \(24 a class in place of 12\) would give about \+\d", printed[-2])
    with (workspace / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["measured"] * (len(rows) - 1) + ["expected"]
    assert int(rows[-1]["images"]) == 240
    assert all(float(row["low"]) <= float(row["accuracy"]) <= float(row["high"]) for row in rows)
    with Image.open(workspace / "labels-curve.png") as chart:
        assert chart.format == "PNG"
        assert chart.width > 600


@pytest.mark.usefixtures("workspace")
def test_test_images_are_not_read(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Rows] = []

    def features(_: Any, pack: Pack, rows: Rows) -> Any:
        read.append(rows)
        with pytest.raises(RunError, match="is in the test split"):
            pack.batch(digits.split.rows["test"][:1])
        raise FeaturesAskedError

    monkeypatch.setattr(curves, "pack_features", features)
    with pytest.raises(FeaturesAskedError):
        command.main(["curve"])
    assert not set(read[0].tolist()) & set(digits.split.rows["test"].tolist())


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--out", "curve.txt"], r"--out: curve.txt does not end with .csv"),
        (["--chart", "curve.svg"], r"--chart: curve.svg does not end with .png"),
        (["--out", "nowhere/curve.csv"], r"--out: the folder nowhere does not exist"),
        (["--chart", str(paths.ROOT / "models" / "curve.png")], r"--chart: .* is in .*models, which stages write"),
        (["--cart", "a.png"], r"--cart: unknown flag; did you mean"),
    ],
)
def test_files_that_cannot_be_written_are_refused_first(words: list[str], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        command.main(["curve", *words])


def test_several_labels_have_no_curve(digits: Any) -> None:
    class Several:
        labels = np.ones((4, 2), np.uint8)

    with pytest.raises(InputError, match=r"data/raw: its images may have any number of classes; labels curve is for"):
        curves.check_task(Several(), digits.split)  # type: ignore[arg-type]


def test_without_a_determined_curve_the_reason_is_said() -> None:
    images = like_flowers(18, 0)
    curve = curve_of(images)
    assert sentence(curve).startswith("what twice the photos would give cannot be said: ")
    assert all(point.kind == "measured" for point in curve.points)
    assert len(lines(curve)) >= 3
