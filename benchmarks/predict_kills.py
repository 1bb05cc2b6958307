"""Kill ./darkroom predict at random instants: python benchmarks/predict_kills.py [--count 20000] [--kills 10] [--seed 0].

Each prediction of the same small photos is ended by SIGKILL at an instant between its start and its end; then the same command
runs to its end. What it wrote must have the bits of a prediction that nothing ended, and no other file may be left.
"""

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from predicting import ROOT, draw_photos, publish

PHOTO, IMAGE_SIZE = (64, 48), 32


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Start the prediction of a folder's photos."""
    command = [sys.executable, str(ROOT / "darkroom"), "predict", str(folder / "photos"), "--model", str(folder / "model")]
    return subprocess.Popen([*command, "--out", str(folder / "out.csv")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def written(folder: Path) -> dict[str, str]:
    """Return the hash of each file that predictions left, and remove them."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("out*"))}
    for name in found:
        (folder / name).unlink()
    return found


def main() -> None:
    """Print a line for each kill; the exit status is 1 if a result differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chosen = random.Random(given.seed)
    equal = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(folder / "model", "test_resnet", IMAGE_SIZE)
        draw_photos(folder / "photos", given.count, PHOTO)
        began = time.perf_counter()
        if start(folder).wait():
            sys.exit("the prediction that nothing ends fails")
        seconds = time.perf_counter() - began
        whole = written(folder)
        print(f"{given.count} photos, {seconds:.1f} s when nothing ends it")
        for number in range(given.kills):
            after = chosen.uniform(0, seconds)
            process = start(folder)
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            was_killed = process.wait() == -signal.SIGKILL
            kept = len(list(folder.glob("out.csv.parts/part-*")))
            status = start(folder).wait()
            same = status == 0 and written(folder) == whole
            equal += same
            ended = f"killed after {after:.1f} s, {kept} parts kept" if was_killed else f"was through before {after:.1f} s"
            print(
                f"{number + 1}: {ended}; the same command: {'the same bits' if same else f'DIFFERS, status {status}'}", flush=True
            )
    print(f"{equal} of {given.kills} end with the same bits")
    sys.exit(equal < given.kills)


if __name__ == "__main__":
    main()
