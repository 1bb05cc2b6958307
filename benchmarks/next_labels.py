"""How many labels `./darkroom labels next` saves: accuracy with the photos that it chooses, and with as many at random.

    python benchmarks/next_labels.py flowers12 [--draws 20] [--others]

FOLDER has a folder for each class, at any depth. In each draw a third of the photos is held out, and labels of the others are
asked for in rounds of 12; a logistic regression on the features of the labelled ones is tested on the third. `--others` compares
other ways to choose. `--scale N` measures the seconds and the memory of a choice among N made-up photos instead.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from darkroom.base import paths
from darkroom.base.params_file import load_sections
from darkroom.labels.next_choice import choose, squared_distances, typical_distance, uncertainties
from darkroom.labels.next_labelled import STRENGTH
from darkroom.transfer.logistic_head import LogisticHead, fit_logistic

ROUND, ROUNDS = 12, 8
Features = NDArray[np.float32]
Labels = NDArray[np.int64]
Choose = Callable[[Features, list[int], NDArray[np.float64] | None, int, np.random.Generator], list[int]]
"""From the features of all photos, the rows that are labelled, and the probabilities by a head: the rows to label."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--scale", type=int)
    chosen = parser.parse_args()
    if chosen.scale:
        measure_scale(chosen.scale)
        return
    features, labels = read(chosen.folder)
    strategies = {"labels next": by_cover, **(OTHERS if chosen.others else {})}
    measured = {name: [] for name in ("random", *strategies)}
    for draw in range(chosen.draws):
        for name, values in measure(features, labels, strategies, draw).items():
            measured[name].append(values)
        print(f"draw {draw + 1} of {chosen.draws}", file=sys.stderr, flush=True)
    show({name: np.array(values) for name, values in measured.items()}, len(labels), chosen.draws)


def read(folder: Path) -> tuple[Features, Labels]:
    """Return the features of the photos in a folder and the numbers of their classes, the names of their folders."""
    from darkroom.features.backbone import open_backbone
    from darkroom.features.photos import photo_features
    from darkroom.prediction.find_photos import find_photos

    params = load_sections(paths.PARAMS, "base", "predict", "train", "hardware")
    backbone = open_backbone(hardware=params.hardware, threads=params.train.threads)
    folder = folder.absolute()
    found = photo_features(backbone, find_photos([folder]), params.predict)
    print(f"{len(found.paths)} photos, features of {backbone.name}", flush=True)
    labels = np.unique([path.parent.name for path in found.paths], return_inverse=True)[1].astype(np.int64)
    # Turned into the space that the photos span: distances, and what a head learns, are the same in less time.
    left, lengths, _ = np.linalg.svd(found.values, full_matrices=False)
    return np.ascontiguousarray((left * lengths).astype(np.float32)), labels


def measure(features: Features, labels: Labels, strategies: dict[str, Choose], draw: int) -> dict[str, list[float]]:
    """Return the accuracy after each round by strategy; of random choice twice as many rounds."""
    numbers = np.random.default_rng(draw)
    order = numbers.permutation(len(labels))
    test, pool = order[: len(order) // 3], order[len(order) // 3 :]
    photos, own = features[pool], labels[pool]

    def fit(rows: list[int]) -> LogisticHead:
        return fit_logistic(photos[rows], own[rows], num_classes=int(labels.max()) + 1, strength=STRENGTH)

    def accuracy(head: LogisticHead) -> float:
        return float((head.logits(features[test]).argmax(axis=1) == labels[test]).mean())

    at_random = numbers.permutation(len(pool)).tolist()
    found = {"random": [accuracy(fit(at_random[: ROUND * (each + 1)])) for each in range(2 * ROUNDS)]}
    for name, strategy in strategies.items():
        rows, head, found[name] = list[int](), None, list[float]()
        for _ in range(ROUNDS):
            probabilities = head.probabilities(photos)[:, np.unique(own[rows])] if head else None
            rows += strategy(photos, rows, probabilities, ROUND, np.random.default_rng(draw))
            assert len(set(rows)) == len(rows)
            head = fit(rows)
            found[name].append(accuracy(head))
    return found


def show(measured: dict[str, NDArray[np.float64]], count: int, draws: int) -> None:
    """Print the means over draws as a table in Markdown."""
    counts = [ROUND * (each + 1) for each in range(ROUNDS)]
    print(f"{count} photos, {draws} draws, accuracy on a held-out third")
    print("| labels |", " | ".join(map(str, counts)), "|\n|---|", "---|" * ROUNDS, sep="")
    random = measured.pop("random").mean(axis=0)
    print("| random |", " | ".join(f"{value:.3f}" for value in random[:ROUNDS]), "|")
    print("| random, twice as many |", " | ".join(f"{value:.3f}" for value in random[1::2]), "|")
    for name, values in measured.items():
        print(f"| {name} |", " | ".join(f"{value:.3f}" for value in values.mean(axis=0)), "|")
    best = measured["labels next"].mean(axis=0)
    reached = [next((ROUND * (each + 1) for each, value in enumerate(random) if value >= mean), None) for mean in best]
    print("| random needs |", " | ".join(f"{each or f'> {2 * ROUNDS * ROUND}'}" for each in reached), "|")
    print("| worst draw |", " | ".join(f"{value:.3f}" for value in measured["labels next"].min(axis=0)), "|")


def by_cover(
    photos: Features, rows: list[int], probabilities: NDArray[np.float64] | None, count: int, _: np.random.Generator
) -> list[int]:
    """Choose as `./darkroom labels next` does."""
    rest = np.setdiff1d(np.arange(len(photos)), rows)
    doubts = np.ones(len(rest)) if probabilities is None else uncertainties(probabilities[rest])
    return rest[choose(photos[rest], photos[rows], doubts, count)].tolist()


def by_cover_alone(photos: Features, rows: list[int], _: object, count: int, numbers: np.random.Generator) -> list[int]:
    """Choose what is typical, whatever the head says."""
    return by_cover(photos, rows, None, count, numbers)


def clustered(photos: Features, rows: list[int], count: int, numbers: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return the largest clusters without a label."""
    from sklearn.cluster import KMeans

    numbers_of = KMeans(len(rows) + count, n_init=3, random_state=int(numbers.integers(1 << 30))).fit_predict(photos)
    sizes = np.bincount(numbers_of)
    sizes[np.unique(numbers_of[rows])] = 0
    return [np.flatnonzero(numbers_of == each) for each in np.argsort(-sizes, kind="stable")[:count]]


def by_typiclust(photos: Features, rows: list[int], _: object, count: int, numbers: np.random.Generator) -> list[int]:
    """Choose the photo with the nearest 20 neighbours in each of these (Hacohen et al. 2022)."""
    chosen = []
    for inside in clustered(photos, rows, count, numbers):
        distances = np.sqrt(squared_distances(photos[inside], photos[inside]))
        near = np.sort(distances, axis=1)[:, 1:21]
        chosen.append(int(inside[near.mean(axis=1).argmin() if near.size else 0]))
    return chosen


def by_centres(photos: Features, rows: list[int], _: object, count: int, numbers: np.random.Generator) -> list[int]:
    """Choose the photo nearest to the centre of each of these."""
    every = clustered(photos, rows, count, numbers)
    return [int(inside[squared_distances(photos[inside], photos[inside].mean(axis=0)[None])[:, 0].argmin()]) for inside in every]


def by_probcover(photos: Features, rows: list[int], _: object, count: int, __: np.random.Generator) -> list[int]:
    """Choose what has most photos within a radius that are not covered (Yehuda et al. 2022); the radius has 5 % of all pairs."""
    distances = squared_distances(photos, photos)
    near = distances <= np.quantile(distances, 0.05)
    covered, chosen = near[rows].any(axis=0), list[int]()
    for _ in range(count):
        gains = (near & ~covered).sum(axis=1)
        gains[rows + chosen] = -1
        chosen.append(int(gains.argmax()))
        covered |= near[chosen[-1]]
    return chosen


def by_margin(
    photos: Features, rows: list[int], probabilities: NDArray[np.float64] | None, count: int, numbers: np.random.Generator
) -> list[int]:
    """Choose the most uncertain ones; the first round is TypiClust."""
    if probabilities is None:
        return by_typiclust(photos, rows, None, count, numbers)
    doubts = uncertainties(probabilities)
    doubts[rows] = -1
    return np.argsort(-doubts, kind="stable")[:count].tolist()


def by_clustered_margin(
    photos: Features, rows: list[int], probabilities: NDArray[np.float64] | None, count: int, numbers: np.random.Generator
) -> list[int]:
    """Choose, of ten times as many uncertain ones, one in each cluster; the first two rounds are TypiClust."""
    if probabilities is None or len(rows) < 2 * ROUND:
        return by_typiclust(photos, rows, None, count, numbers)
    near = by_margin(photos, rows, probabilities, min(10 * count, len(photos) - len(rows)), numbers)
    return [near[row] for row in by_centres(photos[near], [], None, count, numbers)]


def by_badge(
    photos: Features, rows: list[int], probabilities: NDArray[np.float64] | None, count: int, numbers: np.random.Generator
) -> list[int]:
    """Choose by k-means++ on gradients of the head (Ash et al. 2020); the first round is TypiClust."""
    if probabilities is None:
        return by_typiclust(photos, rows, None, count, numbers)
    error = np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)] - probabilities
    squares = (error**2).sum(axis=1) * (photos**2).sum(axis=1)
    distances, chosen = squares.copy(), list[int]()
    for _ in range(count):
        shares = np.maximum(distances, 0)
        shares[rows + chosen] = 0
        one = int(numbers.choice(len(photos), p=shares / shares.sum()))
        chosen.append(one)
        distances = np.minimum(distances, squares + squares[one] - 2 * (error @ error[one]) * (photos @ photos[one]))
    return chosen


OTHERS: dict[str, Choose] = {
    "the same, all photos alike": by_cover_alone,
    "TypiClust": by_typiclust,
    "centres of k-means": by_centres,
    "ProbCover": by_probcover,
    "margin": by_margin,
    "margin, a cluster each": by_clustered_margin,
    "BADGE": by_badge,
}


def measure_scale(count: int) -> None:
    """Print the seconds and the memory of a choice of 48 among made-up photos in 200 clusters."""
    numbers = np.random.default_rng(0)
    centres = numbers.normal(size=(200, 2560)).astype(np.float32)
    photos = np.empty((count, 2560), np.float32)
    for start in range(0, count, 1000):
        part = photos[start : start + 1000]
        part[:] = centres[numbers.integers(0, 200, len(part))] + numbers.normal(size=part.shape)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    typical_distance(photos)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    choose(photos, photos[:100], np.ones(count), 48)
    seconds = time.perf_counter() - began
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{count} photos, {photos.nbytes / 1e6:.0f} MB of features: {seconds:.1f} s, {more:.0f} MB more")


if __name__ == "__main__":
    main()
