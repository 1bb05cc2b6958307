"""Measure `./darkroom compare` of three revisions: python benchmarks/comparing.py [--images 10000] [--classes 10].

A clone of this commit gets three branches, whose predictions are made up; what DVC would have recorded is written as it does.
"""

import argparse
import hashlib
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from default_pipeline import clone, run
from gates import made_up, split_file

PREDICTIONS = "metrics/predictions.parquet"
LOCK = """schema: '2.0'
stages:
  evaluate:
    cmd: python src/evaluate.py
    outs:
    - path: {path}
      hash: md5
      md5: {digest}
      size: {size}
"""


def record(folder: Path, name: str, seed: int, num_images: int, num_classes: int) -> None:
    """Commit a branch with predictions of a network that does not exist."""
    generator = np.random.default_rng(7)
    logits, labels = made_up(num_images, generator, num_classes)
    logits += np.random.default_rng(seed).gumbel(size=logits.shape) * 0.5
    split_file(logits, labels, folder / PREDICTIONS)
    content = (folder / PREDICTIONS).read_bytes()
    digest = hashlib.md5(content).hexdigest()
    cached = folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    cached.write_bytes(content)
    (folder / "dvc.lock").write_text(LOCK.format(path=PREDICTIONS, digest=digest, size=len(content)))
    (folder / "metrics/evaluate.json").write_text('{"test": {"accuracy": 0.5}}')
    for command in (["checkout", "-qB", name], ["add", "-A"], ["commit", "-qm", name]):
        run(["git", "-c", "user.name=B", "-c", "user.email=b@localhost", *command], folder)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = clone(Path(temporary) / "clone")
        for seed, name in enumerate("abc"):
            record(folder, name, seed, options.images, options.classes)
        for arguments in (["a", "b"], ["a", "b", "c"], ["a", "b", "c", "--html", "x.html"]):
            seconds, used = [], []
            for _ in range(options.rounds):
                before, start = os.times(), time.perf_counter()
                run([sys.executable, "darkroom", "compare", *arguments], folder)
                seconds.append(time.perf_counter() - start)
                after = os.times()
                used.append(after.children_user + after.children_system - before.children_user - before.children_system)
            shown = " ".join(arguments)
            print(f"compare {shown}: {min(seconds):.2f} s at best, {min(used):.2f} s of a core, {options.images} images")


if __name__ == "__main__":
    main()
