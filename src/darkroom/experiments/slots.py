"""Where trials run: clones of the repository that stay, with its objects and its data: a trial pays for its training alone.

`dvc exp run --temp` makes a clone for every experiment, and puts the workspace aside while it does: killed in that instant it
leaves the repository without its user's changes. A slot only reads the repository, and adds one reference when a trial has ended.
"""

import configparser
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from darkroom import files
from darkroom.errors import RunError
from darkroom.experiments.repository import Snapshot, commit_tree, find_experiment, git, reference
from darkroom.experiments.writing import dumped, only_stages, write_params
from darkroom.health.processes import is_locked
from darkroom.params_file import read_yaml
from darkroom.stage.lock import locked

# What stands in the dvc.lock and the metrics of other stages is of another model.
STAGES = ("download", "split", "train")
# Where split writes what it has measured.
MEASURED = "metrics/split"
# Longer than a stage that is left behind takes to save its state.
SETTLE_SECONDS = 60.0
MOST_SLOTS = 1000
# How DVC writes down an empty folder.
EMPTY_MD5 = "d751713988987e9331980363e24189ce.dir"
EMPTY = {"hash": "md5", "md5": EMPTY_MD5, "size": 0, "nfiles": 0}
REF = "refs/darkroom/trial"


class Slot:
    """A clone in which one trial runs at a time.

    Parameters
    ----------
    repository
        The repository that it is a clone of.
    folder
        Where it stands.
    """

    def __init__(self, repository: Path, folder: Path):
        self.repository, self.folder = repository, folder

    def open(self, snapshot: Snapshot, content: Mapping[str, Any], *, lock: str | None, stages: tuple[str, ...] = STAGES) -> None:
        """Make the slot a workspace of its own: the snapshot, with these parameters and what is known of the data.

        Parameters
        ----------
        snapshot
            What to start from.
        content
            Of params.yaml.
        lock
            Content of dvc.lock; None: that of the snapshot.
        stages
            What will run: of others nothing is taken along.
        """
        self.settle()
        try:
            self._check_out(snapshot)
        except RunError:  # what a kill left behind is not worth mending
            shutil.rmtree(self.folder, ignore_errors=True)
            self._clone()
            self._check_out(snapshot)
        # How long the search is to be says nothing of a trial.
        own = {key: value for key, value in read_yaml(self.folder / "params.yaml").items() if key == "tune"}
        write_params(self.folder / "params.yaml", {**content, **own})
        path = self.folder / "dvc.lock"
        if lock is not None:
            path.write_text(lock, encoding="utf-8")
        elif path.is_file():
            path.write_text(only_stages(path.read_text(encoding="utf-8"), stages), encoding="utf-8")
        self._drop_other_outputs(stages)

    def save(self, snapshot: Snapshot, name: str, message: str) -> str:
        """Keep what stands here as an experiment of the repository, in one step, and return its commit."""
        self._lock_empty_outputs()
        git(self.folder, "add", "--all")
        commit = commit_tree(self.folder, git(self.folder, "write-tree"), snapshot.head, message)
        git(self.folder, "update-ref", REF, commit)
        quiet = ("-c", "gc.auto=0", "-c", "maintenance.auto=false")
        target = f"{REF}:{reference(snapshot.head, name)}"
        try:
            git(self.repository, *quiet, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(self.folder), target)
        except RunError:
            if there := find_experiment(self.repository, name):  # another search has been faster
                return there
            raise
        return commit

    def settle(self) -> None:
        """Wait for a stage that a kill left behind here to save its state and go."""
        lock = self.folder / ".dvc" / "tmp" / "darkroom.lock"
        deadline = time.monotonic() + SETTLE_SECONDS
        while lock.exists() and is_locked(lock, "fcntl"):
            if time.monotonic() > deadline:
                _kill_holder(lock)
                deadline = time.monotonic() + SETTLE_SECONDS
            time.sleep(0.1)

    def _check_out(self, snapshot: Snapshot) -> None:
        if not (self.folder / ".git").is_dir():
            self._clone()
        # Nobody else is at work here: locks are of the dead.
        for left in (".git/index.lock", ".git/HEAD.lock", ".dvc/tmp/rwlock", ".dvc/tmp/rwlock.lock"):
            (self.folder / left).unlink(missing_ok=True)
        git(self.folder, "checkout", "--quiet", "--force", "--detach", snapshot.commit)
        # What the stages of the data have measured is not in DVC's cache, and would be measured again.
        git(self.folder, "clean", "--quiet", "-ffd", f"--exclude=/{MEASURED}")
        self._share_cache()

    def _clone(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        git(self.folder.parent, "clone", "--quiet", "--shared", "--no-checkout", str(self.repository), str(self.folder))

    def _share_cache(self) -> None:
        """Let DVC keep results, and find data, where the repository has them."""
        own = configparser.ConfigParser(interpolation=None)
        own.read(self.repository / ".dvc" / "config.local", encoding="utf-8")
        if not own.has_section("cache"):
            own.add_section("cache")
        own.set("cache", "dir", str(self._cache_dir()))
        with (self.folder / ".dvc" / "config.local").open("w", encoding="utf-8") as file:
            own.write(file)

    def _cache_dir(self) -> Path:
        settings = configparser.ConfigParser(interpolation=None)
        settings.read([self.repository / ".dvc" / name for name in ("config", "config.local")], encoding="utf-8")
        return (self.repository / ".dvc" / settings.get("cache", "dir", fallback="cache").strip("\"'")).resolve()

    def _lock_empty_outputs(self) -> None:
        """Say in dvc.lock that stages which have not run made empty folders: `dvc exp apply` fails over outputs without a hash.

        They stand there without dependencies, so that the next `dvc repro` runs them.
        """
        path, yaml = self.folder / "dvc.lock", YAML()
        lock: Any = yaml.load(path.read_text(encoding="utf-8")) if path.is_file() else {"schema": "2.0", "stages": {}}
        for name, stage in read_yaml(self.folder / "dvc.yaml")["stages"].items():
            outs = [{"path": out, **EMPTY} for out in stage["outs"] if isinstance(out, str)]
            if name not in lock["stages"] and outs:
                lock["stages"][name] = {"cmd": stage["cmd"], "outs": outs}
        path.write_text(dumped(yaml, lock), encoding="utf-8")
        known = self._cache_dir() / "files" / "md5" / EMPTY_MD5[:2] / EMPTY_MD5[2:]
        if not known.exists():
            files.write_text(known, "[]")

    def _drop_other_outputs(self, stages: tuple[str, ...]) -> None:
        for name, stage in read_yaml(self.folder / "dvc.yaml")["stages"].items():
            if name not in stages:
                for out in stage.get("outs", []):
                    path = self.folder / (next(iter(out)) if isinstance(out, dict) else out)
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def taken_slots(repository: Path, number: int) -> Iterator[list[Slot]]:
    """Yield so many slots that no other search works in, the first free ones."""
    folder = slots_dir(repository)
    slots: list[Slot] = []
    with ExitStack() as stack:
        for place in range(MOST_SLOTS):
            if len(slots) == number:
                break
            try:
                stack.enter_context(locked(folder / f"{place}.lock", "tune", patient=False))
            except RunError:  # another search's
                continue
            slots.append(Slot(repository, folder / str(place)))
        yield slots


def slots_dir(repository: Path) -> Path:
    """Return the folder of the slots, and of what searches hold."""
    return repository / ".dvc" / "tmp" / "search"


def _kill_holder(lock: Path) -> None:
    found = re.search(r'"pid": (\d+)', lock.read_text(encoding="utf-8"))
    if found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(int(found[1]), signal.SIGKILL)
