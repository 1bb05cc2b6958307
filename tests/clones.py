"""Clones of this repository in which tests run commands as users type them."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from warm_python import warm_bin

from darkroom.base.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parents[1]
# One thread: several tests share the cores, and the network is too small for more.
SHORT = {"epochs: 20": "epochs: 3", "kwargs: {}": "kwargs: {width: 8}", "threads: 2": "threads: 1"}
TWO_PROCESSES = {
    "processes: 1": "processes: 2",
    "devices: 1": "devices: 2",
    "strategy: auto": "strategy: ddp",
    "accelerator: auto": "accelerator: cpu",
}


def wait_for(process: subprocess.Popen[str], start: str) -> None:
    """Read the output of a process up to a line that begins like this."""
    assert process.stdout
    for line in process.stdout:
        if line.startswith(start):
            return
    raise AssertionError(f"ended without {start!r}: {process.stderr.read() if process.stderr else ''}")


class Clone:
    """A repository of its own with this checkout's files, where commands run as users type them.

    `python`, `dvc` and `./darkroom` fork from a process that has imported their libraries, unless it is `cold`: for tests of kills
    and of what a person waits for.
    """

    def __init__(self, path: Path, *, cold: bool = False):
        self.path = path
        bin_dir = Path(sys.executable).parent
        self.env = os.environ | {
            "PATH": os.pathsep.join([*map(str, [bin_dir] if cold else [warm_bin(), bin_dir]), os.environ["PATH"]]),
            "DARKROOM_CACHE": str(path.parent / "cache"),
            "DVC_NO_ANALYTICS": "1",
        }
        for name in ("AUTHOR", "COMMITTER"):
            self.env |= {f"GIT_{name}_NAME": "Tester", f"GIT_{name}_EMAIL": "tester@localhost"}

    def run(self, command: str, *, status: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["bash", "-c", command], cwd=self.path, env=self.env, capture_output=True, text=True)
        assert status is None or done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def cold(self) -> "Clone":
        """Return the same clone, with every command in a Python of its own."""
        other = Clone(self.path, cold=True)
        other.env = self.env | {"PATH": other.env["PATH"]}
        return other

    def stages_that_would_run(self) -> list[str]:
        """Return the stages but check, which runs after every edit of params.yaml."""
        return [name for name in re.findall(r"Running stage '([\w@-]+)'", self.run("dvc repro --dry").stdout) if name != "check"]

    def restore(self) -> None:
        """Bring back what was committed; results that were not, such as curves of another metric, would count as changes."""
        self.run("git reset -q --hard && git clean -qfd metrics && dvc checkout -q -f")

    def edit(self, changes: dict[str, str]) -> None:
        text = (self.path / "params.yaml").read_text(encoding="utf-8")
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new, 1)
        (self.path / "params.yaml").write_text(text, encoding="utf-8")

    def metrics(self) -> dict[str, dict[str, float]]:
        content: dict[str, dict[str, float]] = json.loads((self.path / "metrics/evaluate.json").read_text())
        return content


def copy_files(path: Path) -> None:
    """Copy what Git knows of this checkout, with uncommitted changes, and what Python has compiled of it.

    Compiling all modules takes half a second of processor time.
    """
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    compiled = [importlib.util.cache_from_source(name) for name in files if re.match(r"src/.*\.py$", name)]
    for name in filter(None, [*files, *compiled]):
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)  # with its time, by which Python knows whether a compiled module is current


def make_clone(path: Path, *, cold: bool = False) -> Clone:
    """Copy this checkout to a new repository whose training is short."""
    copy_files(path)
    clone = Clone(path, cold=cold)
    clone.edit(SHORT)
    clone.run("git init -q && git add -A && git commit -qm start")
    return clone


@dataclass(frozen=True)
class Finished:
    """A clone in which `dvc repro` ran and was committed. Nobody changes it."""

    clone: Clone
    seconds: float
    """How long `dvc repro` took."""

    def copy(self, path: Path, *, cold: bool = False) -> Clone:
        """Return a clone with the same results; what DVC has linked to its cache is linked there as well."""
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", self.clone.path, path], check=True)
        return Clone(path, cold=cold)


def finished_in(folder: Path) -> Finished:
    """Make the finished clone in a folder, unless it is there."""
    record = folder / "seconds"
    if not record.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of one that failed
        clone = make_clone(folder / "darkroom", cold=True)
        start = time.monotonic()
        clone.run("dvc repro")
        seconds = time.monotonic() - start
        clone.run("git add -A && git commit -qm results")
        record.write_text(str(seconds))
    return Finished(Clone(folder / "darkroom", cold=True), float(record.read_text()))


def outs(lock: Path) -> dict[str, str]:
    return {out["path"]: out["md5"] for stage in read_yaml(lock)["stages"].values() for out in stage["outs"]}
