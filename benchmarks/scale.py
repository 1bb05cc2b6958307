"""Measure packing, splitting and opening of generated images: python benchmarks/scale.py 10000 100000 1000000.

Every step of every count runs in its own process. The table shows seconds and peak resident memory, which includes mapped pages
of the pack.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
SIDE = 32  # pixels: the smallest size that is searched for near duplicates
CLASSES = 100


def images(count: int) -> Iterator[object]:
    """Yield items of a listing with random pixels; every hundredth image is a copy of the one before."""
    import numpy as np

    from darkroom.data.images import Decoded
    from darkroom.data.listing import Item

    def read(number: int) -> tuple[Decoded, int]:
        seed = number - 1 if number % 100 == 99 else number
        block = hashlib.shake_128(seed.to_bytes(8, "big")).digest(64)
        pixels = np.repeat(np.repeat(np.frombuffer(block, np.uint8).reshape(8, 8), 4, axis=0), 4, axis=1)
        return Decoded(np.ascontiguousarray(pixels)), seed % CLASSES

    for number in range(count):
        yield Item(f"{number:08d}.png", "train", (lambda number=number: read(number)))


def download(folder: Path, count: int) -> None:
    """Pack the images."""
    from darkroom.base.params_file import load_params
    from darkroom.data.listing import Listing
    from darkroom.sources.pack_writer import write_pack

    (folder / "raw").mkdir()
    listing = Listing(
        "generated", list(images(count)), lambda present: [str(label) for label in present], {"source": "generated"}
    )
    write_pack(listing, folder / "raw", load_params(ROOT / "params.yaml").download)


def split(folder: Path, count: int) -> None:  # noqa: ARG001
    """Find duplicates and split."""
    from darkroom.base.params_file import load_params
    from darkroom.data.pack import Pack
    from darkroom.splitting.assign import assign_splits
    from darkroom.splitting.split_writer import write_split

    pack = Pack.open(folder / "raw")
    params = load_params(ROOT / "params.yaml").split
    (folder / "split").mkdir()
    write_split(folder / "split", pack, assign_splits(pack, params, 0), params, 0)


def read(folder: Path, count: int) -> None:  # noqa: ARG001
    """Open both, and read 100 batches."""
    import numpy as np

    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    pack = Pack.open(folder / "raw")
    rows = Split.open(folder / "split", pack).rows["train"]
    for start in range(0, 100 * 256, 256):
        assert pack.batch(np.random.default_rng(start).choice(rows, 256)).shape == (256, SIDE, SIDE, 1)


STEPS = {"download": download, "split": split, "open": read}


def main() -> None:
    """Print a table, or run one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("counts", nargs="+", type=int)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        start = time.monotonic()
        STEPS[arguments.step](arguments.folder, arguments.counts[0])
        seconds = time.monotonic() - start
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        print(
            json.dumps({"seconds": seconds, "peak": int(status["VmHWM"].split()[0]), "mapped": int(status["RssFile"].split()[0])})
        )
        os._exit(0)
    print(f"{'images':>9}  {'step':<9} {'seconds':>8} {'µs each':>8} {'peak MiB':>9}")
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            for step in STEPS:
                command = [sys.executable, __file__, str(count), "--step", step, "--folder", folder]
                done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                each = done["seconds"] / count * 1e6
                print(f"{count:>9}  {step:<9} {done['seconds']:>8.1f} {each:>8.1f} {done['peak'] / 1024:>9.0f}", flush=True)


if __name__ == "__main__":
    main()
