"""Measure time and memory of download and split for an archive: python benchmarks/archive_download.py cifar10-images.tar.gz."""

import argparse
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def measured(script: str, folder: Path, environment: dict[str, str]) -> None:
    """Run a stage, and print its seconds and the peak memory of the largest process so far."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, f"src/{script}.py"], cwd=folder, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stderr)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"| {script} | {seconds:.1f} | {peak:.0f} | {done.stdout.strip().splitlines()[-1]} |")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    archive = parser.parse_args().archive.resolve()
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        for key, value in (("source", "archive"), ("archive", archive), ("sha256", sha256)):
            text = re.sub(rf"(?m)^  {key}: \S+", f"  {key}: {value}", text, count=1)
        (folder / "params.yaml").write_text(text, encoding="utf-8")
        (folder / "data").mkdir()
        shutil.copy(ROOT / "data" / "corrections.csv", folder / "data")
        print("| stage | s | peak MiB | result |\n|---|---|---|---|")
        for script in ("download", "split"):
            measured(script, folder, os.environ | {"DARKROOM_CACHE": str(folder / "cache")})


if __name__ == "__main__":
    main()
