"""Measure what follows a training: python benchmarks/after_training.py REV REV [REV ...], in a repository that has these results.

The stage evaluate beside a bare forward pass over the same images, and `./darkroom compare`, `report`, `show` and `explain`. The
workspace must have a model; evaluate writes the same bytes again.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORWARD = """
import time
from darkroom.base import paths
from darkroom.base.params_file import load_params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
params = load_params(paths.PARAMS)
pack = Pack.open(paths.RAW)
split = Split.open(paths.SPLIT, pack)
predictor = Predictor.load(paths.MODELS, params, "evaluate")
how = params.evaluate.model_dump(include={"batch_size", "tta"})
start = time.perf_counter()
for name in ("val", "test"):
    predict_rows(predictor, pack, split.rows[name], **how)
print(time.perf_counter() - start, sum(len(split.rows[name]) for name in ("val", "test")))
"""


def seconds(*command: str) -> float:
    """Return how long a command takes."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("revisions", nargs="+", metavar="REV")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = "./darkroom"
    print("| what | seconds |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        names = options.revisions
        commands = {
            "evaluate, the whole stage": (sys.executable, "src/evaluate.py"),
            f"compare of {len(names)} revisions": (command, "compare", *names),
            f"report of {len(names)} revisions": (command, "report", *names, "--out", f"{folder}/report.html"),
            "show": (command, "show"),
            "100 mistakes explained": (command, "explain", "--count", "100", "--nearest", "0", "--out", f"{folder}/a.png"),
        }
        for _ in range(options.rounds):
            done = subprocess.run([sys.executable, "-c", FORWARD], cwd=ROOT, env=environment, check=True, capture_output=True)
            forward, images = done.stdout.split()[-2:]
            print(f"| bare forward pass over {int(images)} images | {float(forward):.2f} |", flush=True)
            for what, line in commands.items():
                print(f"| {what} | {seconds(*line):.2f} |", flush=True)
        print(f"\nThe report has {(Path(folder) / 'report.html').stat().st_size / 1e6:.2f} MB.")


if __name__ == "__main__":
    main()
