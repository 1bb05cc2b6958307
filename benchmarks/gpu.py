"""Measure a GPU in ten minutes: benchmarks/gpu.sh installs what is missing and calls this.

Runs the steps of benchmarks/gpu_steps.py, each in a process of its own with a time limit of its own, and prints one table. A row
is printed as soon as it is there, and a step that fails or takes too long has a row that says so; the others go on. Steps that
measure no time come first and run at once; all others run alone.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gpu_steps import add_arguments
from gpu_table import HEAD, Table
from peers import ENVIRONMENT, ROOT

# Seconds that a step may take. With 30 for the installation from wheels they are nearly ten minutes; cifar96 takes what is left.
CHECKS = {"tests": 100, "resume": 100, "hashes": 100, "ready": 100}
ALONE = {
    "cifar94": 100,
    "photos-resnet50": 75,
    "timm-resnet50": 90,
    "photos-vit_small_patch16_224": 65,
    "timm-vit_small_patch16_224": 70,
    "two": 45,
    "cifar96": 240,
}
SCRIPT = Path(__file__).with_name("gpu_steps.py")
LEAST = 20  # seconds: with less, a step is not begun
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "timm", "dvc")


@dataclass
class Ended:
    """How a step ended."""

    name: str
    seconds: float
    limit: float
    fault: str | None


def run(name: str, limit: float, flags: list[str], table: Table, logs: Path) -> Ended:
    """Run a step, and end all of its processes where it takes too long."""
    command = [sys.executable, str(SCRIPT), name, "--seconds", str(limit), *flags]
    start, fault = time.monotonic(), None
    piped: Any = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    log_path = logs / f"{name}.log"
    with (
        log_path.open("w", encoding="utf-8") as log,
        subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=log, **piped) as process,
    ):
        late = threading.Event()

        def end() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit, end)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("| "):
                table.add(line.rstrip("\n"))
            else:
                log.write(line)
        status = process.wait()
        timer.cancel()
    if late.is_set():
        fault = f"its limit of {limit:.0f} s"
    elif status:
        said = log_path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        fault = f"status {status}, {said[-1].replace('|', ' ')[:200] if said else 'no message'}"
    if fault:
        table.add(f"| {name} | **failed**: {fault} | | | |")
    return Ended(name, time.monotonic() - start, limit, fault)


def described(device: str) -> str:
    """Return machine and versions."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    gpu = "no GPU"
    if device == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            gpu = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().replace("\n", "; ")
        except (OSError, subprocess.CalledProcessError) as error:
            gpu = f"nvidia-smi: {error}"
    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
        commit = git.stdout.strip() or "unknown"
    except OSError:
        commit = "unknown, without Git, which train needs"
    python = f"Python {platform.python_version()}"
    return f"{time.strftime('%Y-%m-%d')}, commit {commit}, {gpu}, {os.cpu_count()} cores, {python}, {', '.join(found)}"


def main() -> None:
    """Run all steps, or those that are named, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_arguments(parser)
    parser.add_argument("--steps", nargs="+", choices=CHECKS | ALONE, default=[*CHECKS, *ALONE])
    parser.add_argument("--minutes", type=float, default=10, help="time for all steps, from --begun on")
    parser.add_argument("--begun", type=float, default=time.time(), help="when the installation began, in seconds since 1970")
    parser.add_argument("--slower", type=float, default=1, help="factor of all limits, for another machine")
    parser.add_argument("--out", type=Path, default=ROOT / "logs" / "gpu", help="folder for gpu.md and the log of each step")
    given = parser.parse_args()
    end = given.begun + 60 * given.minutes * given.slower
    table, ended = Table(given.out / "gpu.md"), list[Ended]()
    table.add(f"{described(given.device)}\n\nInstallation: {time.time() - given.begun:.0f} s.\n\n{HEAD}")
    flags = ["--device", given.device, *(["--tiny"] if given.tiny else [])]
    for name in ("cifar", "airbench", "timm"):
        if path := getattr(given, name):
            flags += [f"--{name}", str(path.resolve())]
    with tempfile.TemporaryDirectory() as work:
        flags += ["--work", work]

        def begin(name: str) -> None:
            limit = min(given.slower * (CHECKS | ALONE)[name], end - time.time())
            if limit < LEAST:
                table.add(f"| {name} | **not begun**: {limit:.0f} s are left | | | |")
                ended.append(Ended(name, 0, limit, "not begun"))
            else:
                ended.append(run(name, limit, flags, table, given.out))

        with ThreadPoolExecutor(len(CHECKS)) as pool:
            list(pool.map(begin, [name for name in CHECKS if name in given.steps]))
        for name in ALONE:
            if name in given.steps:
                begin(name)
    table.add("\n| step | seconds | limit | |\n|---|---|---|---|")
    for each in ended:
        table.add(f"| {each.name} | {each.seconds:.0f} | {each.limit:.0f} | {'failed' if each.fault else ''} |")
    print(f"\nwritten to {given.out}", flush=True)
    sys.exit(any(each.fault for each in ended))


if __name__ == "__main__":
    main()
