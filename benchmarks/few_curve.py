"""How true `./darkroom labels curve` is: from n photos a class, what twice as many would give, beside what they do give.

    python benchmarks/few_curve.py ARCHIVE --keep few-features

ARCHIVE is as for few_labels.py. In each draw n photos of a class are known and n more are added; the rest are tested. The gain of
one draw is measured on a few hundred photos, so that chance decides most of it: the mean over draws is what is foretold.
"""

import argparse
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from few_photos import NETWORK, Photos, features_of, head_accuracy


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--count", type=int, default=20, help="photos a class that are known (20)")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw (0)")
    parser.add_argument("--keep", type=Path, help="folder that keeps features")
    given = parser.parse_args()

    from darkroom.labels.growth import Images, measure_growth
    from darkroom.labels.power_law import forecast

    with tempfile.TemporaryDirectory() as temporary:
        with tarfile.open(given.archive) as tar:
            tar.extractall(temporary, filter="data")
        photos = Photos.of(Path(temporary))
        print(
            "| features | draw | accuracy | with twice as many | gain, points | foretold | with 95 % | s |\n|---"
            + "|---" * 7
            + "|"
        )
        for name in (NETWORK, None):
            features, _ = features_of(photos, name, given.keep)
            gains, foretold = [], []
            for seed in range(given.first, given.first + given.draws):
                more, tested = photos.draw(2 * given.count, seed)
                known = part_of(photos, more, given.count, seed)
                before, after = (head_accuracy(features, photos, rows, tested)[0] for rows in (known, more))
                start = time.perf_counter()
                images = Images(features[known, 0], photos.labels[known], photos.units[known])
                growth = measure_growth(images, images.take(np.zeros(0, np.int64)), len(photos.classes), seed=seed)
                found = forecast(growth, len(known))
                spent = time.perf_counter() - start
                gains.append(after - before)
                low, middle, high = (100 * gain for gain in found.gain())
                foretold += [] if found.doubt else [middle]
                said = f"| | {found.doubt}" if found.doubt else f"{middle:+.2f} | {low:+.2f} to {high:+.2f}"
                shown = f"{before:.4f} | {after:.4f} | {100 * gains[-1]:+.2f} | {said} | {spent:.0f}"
                print(f"| {name or 'side by side'} | {seed} | {shown} |", flush=True)
            mean = f"{100 * statistics.mean(gains):+.2f} | {statistics.mean(foretold):+.2f}" if foretold else ""
            print(f"| {name or 'side by side'} | mean | | | {mean} | | |", flush=True)


def part_of(photos: Photos, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return `count` photos of each class among rows, by chance."""
    order = np.random.default_rng([seed, 1]).permutation(rows)
    return np.sort(np.concatenate([order[photos.labels[order] == label][:count] for label in range(len(photos.classes))]))


if __name__ == "__main__":
    main()
