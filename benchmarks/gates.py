"""Measure how often gates of `./darkroom compare` err: python benchmarks/gates.py [--revision REV] [--pairs 200].

Pairs of predictions are drawn for the same images. In the first table both are equally good by construction, and a gate that
fails errs. In the second one the later is worse by a known number of points, and a gate that passes misses it. Predictions are
made up: those of `--revision`, or of a network that does not exist, with random numbers added to their logits.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from darkroom.comparison.evaluated import open_evaluated
from darkroom.comparison.gate import read_gate
from darkroom.comparison.matching import match
from darkroom.comparison.measured import Measured
from darkroom.comparison.verdict import is_worse
from darkroom.metrics.decision import USUAL
from darkroom.metrics.predictions_file import About, EvaluatedSplit, read_predictions
from darkroom.metrics.predictions_writer import ImagesOf, PredictionsWriter

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
CLASSES = 10
GATES = (
    "test.accuracy >= main",
    "test.accuracy >= main - 0.005",
    "test.f1_macro >= main",
    "test.loss <= main",
    "test.ece <= main",
)


def made_up(num_images: int, generator: np.random.Generator, num_classes: int = CLASSES) -> tuple[Floats, Labels]:
    """Return logits (N, K) and labels (N,) of a network with an accuracy of about 0.85."""
    labels = generator.integers(0, num_classes, num_images)
    logits = generator.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), labels] += 2.8
    return 2 * logits, labels


def recorded(revision: str) -> tuple[Floats, Labels]:
    """Return the logits and labels of the validation and test images of a revision."""
    splits = open_evaluated(ROOT, revision).predictions.values()
    probabilities = np.concatenate([split.probabilities for split in splits]).astype(np.float64)
    return np.log(probabilities.clip(1e-9)), np.concatenate([split.labels for split in splits]).astype(np.int64)


def split_file(logits: Floats, labels: Labels, path: Path) -> EvaluatedSplit:
    """Write predictions as evaluate records them, and return them as they are read again."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shifted / shifted.sum(axis=1, keepdims=True)
    names = [f"{row}" for row in range(len(labels))]
    about = About([f"{label}" for label in range(logits.shape[1])], "multiclass", USUAL)
    with PredictionsWriter(path, about) as writer:
        writer.add("test", ImagesOf(names, [name.encode() for name in names], labels, {}), probabilities)
    return read_predictions(path)["test"]


def worsened(logits: Floats, labels: Labels, points: float, generator: np.random.Generator) -> Floats:
    """Return logits in which so many points of all images, correct before, have another class in the first place."""
    right = np.flatnonzero(logits.argmax(axis=1) == labels)
    chosen = right[generator.random(len(right)) < points * len(labels) / len(right)]
    changed = logits.copy()
    other = (labels[chosen] + generator.integers(1, logits.shape[1], len(chosen))) % logits.shape[1]
    changed[chosen, labels[chosen]], changed[chosen, other] = logits[chosen, other], logits[chosen, labels[chosen]]
    return changed


def pairs(logits: Floats, labels: Labels, num_images: int, count: int, points: float, noise: float) -> Iterator[Measured]:
    """Yield pairs on resampled images; of each the second is worse by so many points."""
    generator = np.random.default_rng(12)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            rows = generator.integers(0, len(labels), num_images)
            sides = [logits[rows] + noise * generator.gumbel(size=(num_images, logits.shape[1])) for _ in range(2)]
            sides[1] = worsened(sides[1], labels[rows], points, generator)
            yield Measured(match(*(split_file(side, labels[rows], Path(folder) / "x.parquet") for side in sides)), 15)


def table(logits: Floats, labels: Labels, num_images: int, count: int, points: float, noise: float) -> str:
    """Return a row: the images, how often the two differ, accuracy, and of each gate the share of pairs that fail."""
    gates = [read_gate(text) for text in GATES]
    failed, differ, accuracies, moved = np.zeros(len(gates)), [], [], []
    for measured in pairs(logits, labels, num_images, count, points, noise):
        changes = {change.name: change for change in measured.metrics}
        failed += [is_worse(gate, changes[gate.metric]) for gate in gates]
        accuracies.append(changes["accuracy"].first)
        moved.append(changes["accuracy"].difference)
        differ.append((len(measured.matched.fixed) + len(measured.matched.broken)) / num_images)
    shares = "".join(f" {100 * share:.1f} % |" for share in failed / count)
    return (
        f"| {num_images} | {np.mean(accuracies):.3f} | {100 * np.mean(differ):.1f} % | {100 * np.mean(moved):+.2f} "
        f"± {100 * np.std(moved):.2f} |{shares}"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--revision", help="whose predictions to draw from (default: made-up ones)")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--images", type=int, nargs="*", default=[359, 2000, 10_000])
    options = parser.parse_args()
    generator = np.random.default_rng(3)
    logits, labels = recorded(options.revision) if options.revision else made_up(20_000, generator)
    print(f"{options.pairs} pairs a row, Python {platform.python_version()}, NumPy {np.__version__}")
    start = time.perf_counter()
    head = "| images | accuracy | images right in one only | points by which the second differs |"
    for title, points in (("No true difference: gates that fail", 0.0), ("Truly worse by 2 points: gates that fail", 0.02)):
        print(f"\n{title}\n\n{head}{''.join(f' `{gate}` |' for gate in GATES)}\n{'|---' * (4 + len(GATES))}|", flush=True)
        for num_images in options.images:
            for noise in (0.3, 1.0):
                print(table(logits, labels, num_images, options.pairs, points, noise), flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
