"""Time commands in two commits in turns, and say which became slower.

    python benchmarks/before_and_after.py HEAD~1 HEAD
    python benchmarks/before_and_after.py v1.0 HEAD --command 'python src/evaluate.py' --rounds 9
    python benchmarks/before_and_after.py HEAD~1 HEAD --prepare "dvc exp run $(./darkroom preset cifar10_small) -S train.epochs=1"

Each commit has its own clone, with the packages that are installed here and an empty cache of DVC. After `--prepare` ran in both,
every command runs once in each commit, and so for some rounds, so that what else the machine does falls on both. The ratio is the
median of those of the rounds. Seconds of a core are steadier than those of the clock, since waiting does not count. It ends with
status 1 where a ratio of them grew by more than `--limit`.
"""

import argparse
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from default_pipeline import clone, run
from peers import ROOT

# Of the default pipeline; train starts anew, since what it keeps for a resume is removed.
COMMANDS = (
    "python src/download.py",
    "python src/split.py",
    "python src/train.py",
    "python src/evaluate.py",
    "python src/predict.py",
)
KEPT = "rm -rf .resume"


def seconds(command: str, folder: Path) -> tuple[float, float]:
    """Run a command of a shell, and return its seconds and the seconds of a core, those of its children included."""
    run(shlex.split(KEPT), folder)
    before, start = os.times(), time.perf_counter()
    run(["bash", "-c", command], folder)
    after = os.times()
    return time.perf_counter() - start, sum(after[2:4]) - sum(before[2:4])


def prepared(commit: str, command: str, folder: Path) -> Path:
    """Clone a commit, and run what its commands need."""
    clone(folder)
    run(["git", "checkout", "--quiet", commit], folder)
    run(["bash", "-c", command], folder)
    return folder


def row(command: str, first: list[tuple[float, float]], second: list[tuple[float, float]]) -> tuple[str, float]:
    """Return a line of the table, and the ratio of the seconds of a core."""
    cells, ratios = [], []
    for kind in (0, 1):
        before, after = ([each[kind] for each in measured] for measured in (first, second))
        ratios = [new / old for old, new in zip(before, after, strict=True)]
        shown = " | ".join(f"{statistics.median(values):.2f}" for values in (before, after))
        cells.append(f"{shown} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return f"| `{command}` | {' | '.join(cells)} |", statistics.median(ratios)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit")
    parser.add_argument("after", nargs="?", default="HEAD", help="a commit (HEAD)")
    parser.add_argument("--prepare", default="dvc repro", help="runs once in each commit (dvc repro)")
    parser.add_argument("--command", action="append", help="is timed; may be given several times (the five stages)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=float, default=0.1, help="by which a ratio may grow (0.1)")
    given = parser.parse_args()
    names = [run(["git", "rev-parse", "--short", name], ROOT)[1].strip() for name in (given.before, given.after)]
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "pytorch-lightning", "dvc"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}")
    print(f"{names[0]} and {names[1]}, {given.rounds} rounds; load at the start {os.getloadavg()[0]:.1f}\n")
    print(f"| command | s: {names[0]} | {names[1]} | ratio (all) | of a core: {names[0]} | {names[1]} | ratio (all) |")
    print("|---|---|---|---|---|---|---|")
    slower = []
    with tempfile.TemporaryDirectory() as temporary:
        clones = [prepared(name, given.prepare, Path(temporary, f"{place}-{name}")) for place, name in enumerate(names)]
        for command in given.command or COMMANDS:
            measured: tuple[list[tuple[float, float]], ...] = ([], [])
            for turn in range(given.rounds):
                # Who goes first changes, since the second finds files in the system's memory.
                for place in (0, 1) if turn % 2 == 0 else (1, 0):
                    measured[place].append(seconds(command, clones[place]))
            line, ratio = row(command, *measured)
            print(line, flush=True)
            slower += [f"{command}: {ratio:.2f}"] if ratio > 1 + given.limit else []
    if slower:
        sys.exit(f"\nslower by more than {given.limit:.0%}, in seconds of a core: {'; '.join(slower)}")


if __name__ == "__main__":
    main()
