"""Seconds and memory of the search for nearest images, and of embeddings as a file: `python benchmarks/neighbours.py`.

Each number of known images runs in a process of its own, for the memory. Features are random: their values change no time.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from darkroom.features import extract
from darkroom.features.known import images_of_file
from darkroom.prediction.embeddings_file import Embeddings, FeaturesOf, writing_embeddings
from darkroom.prediction.predictions import Predictions

SIZE, QUERIES, AT_ONCE = 1280, 256, 1000
OF = FeaturesOf("random", "random", "0" * 64)


def measure(count: int, folder: Path) -> None:
    """Print a row of the table for a number of known images."""
    extract.features_dir = lambda: folder
    numbers, path = np.random.default_rng(0), folder / "known.parquet"
    probabilities = np.ones((AT_ONCE, 1))
    before, most, written = anonymous(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 0.0
    with writing_embeddings(path) as writer:
        for first in range(0, count, AT_ONCE):
            names = [f"{number}.jpg" for number in range(first, first + AT_ONCE)]
            values = numbers.normal(size=(AT_ONCE, SIZE)).astype(np.float32)
            start = time.perf_counter()
            writer.add(Predictions(["x"], names, probabilities, embeddings=Embeddings(values, OF)))
            written += time.perf_counter() - start
    start = time.perf_counter()
    known = images_of_file(path, OF)
    opened = time.perf_counter() - start
    start = time.perf_counter()
    known.nearest(numbers.normal(size=(QUERIES, SIZE)).astype(np.float32), 5)
    searched = time.perf_counter() - start
    mapped = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 - most
    seconds = f"{written:.1f} | {opened:.1f} | {searched:.2f}"
    print(f"| {count} | {path.stat().st_size / 1e6:.0f} | {seconds} | {anonymous() - before:.0f} | {mapped:.0f} |", flush=True)


def anonymous() -> float:
    """Return the MB of memory that no file stands for: the system can take back pages of a mapped file."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("RssAnon")]
    return int(line.split()[1]) / 1e3


def main() -> None:
    """Measure each number in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="numbers of known images")
    parser.add_argument("--threads", type=int, default=2, help="threads that compute (default: 2)")
    parser.add_argument("--alone", action="store_true", help="in this process")
    chosen = parser.parse_args()
    if chosen.alone:
        with tempfile.TemporaryDirectory(dir=Path()) as folder:
            measure(chosen.images[0], Path(folder))
        return
    print(f"{QUERIES} images are looked for, {SIZE} features, {chosen.threads} threads")
    print("| known images | MB | write s | open s | search s | more memory MB | and mapped MB |\n|---|---|---|---|---|---|---|")
    threads = {"OMP_NUM_THREADS": str(chosen.threads), "OPENBLAS_NUM_THREADS": str(chosen.threads)}
    for count in chosen.images:
        command = [sys.executable, __file__, "--alone", "--images", str(count)]
        sys.stdout.flush()
        subprocess.run(command, check=True, env=os.environ | threads)


if __name__ == "__main__":
    main()
