"""Measure the memory of ./darkroom predict: python benchmarks/predict_memory.py [20000 60000].

Predicts generated photos at 224 px into one Parquet file with all 1000 probabilities, from a folder and from a list. The peak is
that of the whole process, as the kernel counts it; it must not grow with the number of images.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from predicting import ROOT, draw_photos, publish


def measure(arguments: list[str]) -> tuple[float, float]:
    """Return seconds and peak MiB of a prediction."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(ROOT / "darkroom"), "predict", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"predict failed with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, used.ru_maxrss / 1024


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("counts", nargs="*", type=int, default=[20_000, 60_000])
    parser.add_argument("--network", default="test_resnet", help="of timm (test_resnet: so small that the rest is measured)")
    given = parser.parse_args()
    print("| images | input | seconds | images/s | peak MiB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(folder / "model", given.network)
        for count in given.counts:
            photos = folder / f"photos-{count}"
            draw_photos(photos, count)
            listed = folder / f"list-{count}.txt"
            listed.write_text("".join(f"{path}\n" for path in sorted(photos.iterdir())))
            for what, argument in (("folder", str(photos)), ("list", f"@{listed}")):
                out = folder / "out.parquet"
                seconds, peak = measure([argument, "--model", str(folder / "model"), "--out", str(out)])
                print(f"| {count:,} | {what} | {seconds:.0f} | {count / seconds:.0f} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
