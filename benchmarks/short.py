"""Run short forms of the benchmarks that need only this repository, in about ten minutes: python benchmarks/short.py.

Prints their tables, each under its command, and writes them to logs/benchmarks.md.
"""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = (
    "default_pipeline.py --seeds 1",
    "step_overhead.py --rounds 3",
    "reading.py --rounds 2",
    "scale.py 10000",
)


def main() -> None:
    """Run them one after the other, since parallel runs would disturb each other."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "timm", "pytorch-lightning"))
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    beside = f"load before {os.getloadavg()[0]:.1f}"
    parts = [f"{time.strftime('%Y-%m-%d')}, commit {commit.strip()}, {machine}, {packages}, {beside}\n"]
    print(parts[0], flush=True)
    failed = False
    for command in COMMANDS:
        script, *arguments = command.split()
        before = os.getloadavg()[0]
        done = subprocess.run([sys.executable, f"benchmarks/{script}", *arguments], cwd=ROOT, capture_output=True, text=True)
        failed |= done.returncode != 0
        load = f"Load of the machine: {before:.1f} before, {os.getloadavg()[0]:.1f} at the end."
        parts.append(f"## `python benchmarks/{command}`\n\n{load}\n\n{done.stdout or done.stderr}")
        print(parts[-1], flush=True)
    written = ROOT / "logs" / "benchmarks.md"
    written.parent.mkdir(exist_ok=True)
    written.write_text("\n".join(parts), encoding="utf-8")
    print(f"written to {written.relative_to(ROOT)}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
