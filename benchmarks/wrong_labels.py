"""How many of the labels that `./darkroom labels check` doubts first are wrong: labels are flipped at random, and looked for.

    python benchmarks/wrong_labels.py flowers12 [--share 0.1] [--draws 5]
    python benchmarks/wrong_labels.py cifar10-images.tar.gz --images 2000
    python benchmarks/wrong_labels.py digits

The set is a folder, or an archive, laid out as `download.folder`, or `digits`. In each draw a share of the labels, drawn at
random, becomes another class, drawn at random, too. As many images as were flipped are taken from the top of the list:
precision is the share of them whose label is wrong; proposed is the share of these for which the right class is proposed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from darkroom.base import files, paths
from darkroom.base.params import Params
from darkroom.base.params_file import load_sections
from darkroom.data.pack import Pack
from darkroom.features.backbone import open_backbone
from darkroom.features.extract import pack_features
from darkroom.features.out_of_fold import out_of_fold
from darkroom.labels.check import FOLDS
from darkroom.labels.confident import estimate_errors, own_probabilities
from darkroom.labels.suspects import find_units
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source


def main() -> None:
    """Print a line for each draw, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", help="a folder, an archive, or digits")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--images", type=int, help="of these many images, drawn at random")
    parser.add_argument("--backbone")
    chosen = parser.parse_args()
    params = load_sections(paths.PARAMS, "base", "download", "split", "train", "hardware")
    with tempfile.TemporaryDirectory() as folder:
        pack = read(chosen.set, params, Path(folder))
        rows = np.arange(len(pack))
        if chosen.images:
            rows = np.sort(np.random.default_rng(0).permutation(len(pack))[: chosen.images])
        backbone = open_backbone(chosen.backbone, hardware=params.hardware, channels=pack.channels, threads=params.train.threads)
        start = time.perf_counter()
        features = pack_features(backbone, pack, rows)
        seconds = time.perf_counter() - start
        units = find_units(pack, params.split).numbers[rows]
        labels = np.asarray(pack.labels[rows], np.int64)
    print(f"{len(rows)} images of {len(pack.classes)} classes; features of {backbone.name} in {seconds:.0f} s", flush=True)
    print("draw  flipped  estimated  precision  proposed  seconds")
    draws = []
    for draw in range(chosen.draws):
        measured = measure(features, labels, units, len(pack.classes), chosen.share, draw)
        draws.append(measured)
        print("{:4}  {:7.0f}  {:9.0f}  {:9.4f}  {:8.4f}  {:7.1f}".format(draw, *measured), flush=True)
    print("mean  {:7.0f}  {:9.0f}  {:9.4f}  {:8.4f}  {:7.1f}".format(*np.mean(draws, axis=0)))


def read(name: str, params: Params, folder: Path) -> Pack:
    """Pack the images, as the stage download does."""
    path = Path(name).expanduser().absolute()
    changes: dict[str, Any] = {"source": "digits"}
    if path.is_dir():
        changes = {"source": "folder", "folder": str(path)}
    elif path.is_file():
        changes = {"source": "archive", "archive": str(path), "sha256": files.sha256(path)}
    source = params.download.model_copy(update=changes)
    (folder / "raw").mkdir()
    with read_source(source, folder) as listing:
        write_pack(listing, folder / "raw", source)
    return Pack.open(folder / "raw")


def measure(features: Any, labels: Any, units: Any, num_classes: int, share: float, draw: int) -> tuple[float, ...]:
    """Return how many labels were flipped, the estimate of it, precision, proposed, and seconds."""
    numbers = np.random.default_rng(draw)
    flipped = numbers.permutation(len(labels))[: round(share * len(labels))]
    given = labels.copy()
    given[flipped] = (labels[flipped] + numbers.integers(1, num_classes, len(flipped))) % num_classes
    start = time.perf_counter()
    probabilities = out_of_fold(features, given, num_classes=num_classes, groups=units, folds=FOLDS, seed=draw)
    seconds = time.perf_counter() - start
    first = np.argsort(own_probabilities(probabilities, given), kind="stable")[: len(flipped)]
    wrong = first[given[first] != labels[first]]
    proposed = (probabilities[wrong].argmax(axis=1) == labels[wrong]).mean()
    return len(flipped), estimate_errors(probabilities, given), len(wrong) / len(flipped), float(proposed), seconds


if __name__ == "__main__":
    main()
