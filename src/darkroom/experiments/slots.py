"""Slots: clones of the repository in which trials run, kept so that the next trial finds the data there.

`dvc exp run --temp` makes a clone for every experiment, and stashes the workspace while it does: killed in that instant it leaves
the repository without its user's changes. A slot only reads the repository, and adds one reference when a trial has ended.
"""

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

from darkroom.base import files
from darkroom.base.errors import RunError
from darkroom.base.nested import named, outputs_of, read_stages
from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.repository import Snapshot, commit_tree, find_experiment
from darkroom.experiments.yaml_edits import dumped, only_stages, write_params
from darkroom.health.processes import is_locked
from darkroom.repository.dvc import EMPTY_FILE, EMPTY_FOLDER, EMPTY_TABLE, NO_METRICS, cache_dir, share_settings
from darkroom.repository.git import git_output, git_path, prefix_of, reference, top_of
from darkroom.stage.lock import locked

# Entries of other stages in dvc.lock, and their metrics, belong to another model.
STAGES = ("check", "download", "split", "train")
# A stage whose DVC was killed saves its state in less; after this it is killed.
MAX_STAGE_SECONDS = 60.0
MAX_SLOTS = 1000
REF = "refs/darkroom/trial"


class Slot:
    """A clone in which one trial runs at a time.

    Parameters
    ----------
    repository
        The project that it is a clone of, at the top of a Git repository or below.
    clone
        Where the clone of that Git repository is; the project is in `folder`.
    """

    def __init__(self, repository: Path, clone: Path):
        self.repository, self.clone = repository, clone
        self.prefix = prefix_of(repository)
        self.folder = clone / self.prefix

    def prepare(
        self, snapshot: Snapshot, content: Mapping[str, Any], *, lock: str | None, stages: tuple[str, ...] = STAGES
    ) -> None:
        """Check out the snapshot, with these parameters and this dvc.lock.

        Parameters
        ----------
        snapshot
            What to check out.
        content
            Content of params.yaml; `tune` stays that of the snapshot.
        lock
            Content of dvc.lock; None: that of the snapshot, for these stages.
        stages
            Stages that will run; outputs of others are removed.
        """
        self.wait_for_stage()
        try:
            self._check_out(snapshot)
        except RunError:  # damaged by a kill
            self._clone()
            self._check_out(snapshot)
        # The settings of the search do not belong to a trial.
        tune = {key: value for key, value in read_yaml(self.folder / "params.yaml").items() if key == "tune"}
        write_params(self.folder / "params.yaml", {**content, **tune})
        path = self.folder / "dvc.lock"
        if lock is not None:
            path.write_text(lock, encoding="utf-8")
        elif path.is_file():
            path.write_text(only_stages(path.read_text(encoding="utf-8"), stages), encoding="utf-8")
        self._drop_other_outputs(stages)

    def save(self, snapshot: Snapshot, name: str, message: str) -> str:
        """Add the content of the slot to the repository as an experiment, in one step, and return its commit."""
        self._lock_empty_outputs()
        git_output(self.folder, "add", "--all", "--", ".")
        commit = commit_tree(self.folder, git_output(self.folder, "write-tree"), snapshot.head, message)
        git_output(self.folder, "update-ref", REF, commit)
        fetch = ("-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head")
        target = f"{REF}:{reference(snapshot.head, name)}"
        try:
            git_output(self.repository, *fetch, str(self.clone), target)
        except RunError:
            if there := find_experiment(self.repository, name):  # another search was faster
                return there
            raise
        return commit

    def wait_for_stage(self) -> None:
        """Wait for a stage whose DVC was killed to save its state and end; kill it if it does not."""
        lock = self.folder / ".dvc" / "tmp" / "darkroom.lock"
        deadline = time.monotonic() + MAX_STAGE_SECONDS
        while lock.exists() and is_locked(lock, "fcntl"):
            if time.monotonic() > deadline:
                _kill_holder(lock)
                deadline = time.monotonic() + MAX_STAGE_SECONDS
            time.sleep(0.1)

    def _check_out(self, snapshot: Snapshot) -> None:
        if not (self.clone / ".git").is_dir():
            self._clone()
        # No other process uses this slot: these locks were left by killed ones.
        for path in (self.clone / ".git" / "index.lock", self.clone / ".git" / "HEAD.lock"):
            path.unlink(missing_ok=True)
        for name in ("rwlock", "rwlock.lock"):
            (self.folder / ".dvc" / "tmp" / name).unlink(missing_ok=True)
        git_output(self.clone, "checkout", "--quiet", "--force", "--detach", snapshot.commit)
        git_output(self.folder, "clean", "--quiet", "-ffd")
        share_settings(self.repository, self.folder)

    def _clone(self) -> None:
        shutil.rmtree(self.clone, ignore_errors=True)
        self.clone.parent.mkdir(parents=True, exist_ok=True)
        source = str(top_of(self.repository))
        git_output(self.clone.parent, "clone", "--quiet", "--shared", "--no-checkout", source, str(self.clone))
        # Of a repository with a part of the history, Git copies that part instead; snapshots that come later are shared.
        objects = git_path(self.repository, "objects").resolve()
        (self.clone / ".git" / "objects" / "info" / "alternates").write_bytes(os.fsencode(f"{objects}\n"))

    def _lock_empty_outputs(self) -> None:
        """Record in dvc.lock empty outputs for stages that did not run: `dvc exp apply` fails on outputs without a hash.

        These entries have no dependencies, so the next `dvc repro` runs the stages. Their metrics are files without any.
        """
        path, yaml = self.folder / "dvc.lock", YAML()
        lock: Any = yaml.load(path.read_text(encoding="utf-8")) if path.is_file() else {"schema": "2.0", "stages": {}}
        for name, stage in read_stages(self.folder / "dvc.yaml").items():
            cached = [out for out in stage["outs"] if isinstance(out, str)]
            tables = named(stage.get("metrics", []))
            if name not in lock["stages"] and cached + tables:
                outs = [{"path": out, **_empty_output(out)} for out in cached]
                outs += [{"path": table, **self._write_no_metrics(table)} for table in tables]
                lock["stages"][name] = {"cmd": stage["cmd"], "outs": outs}
        path.write_text(dumped(yaml, lock), encoding="utf-8")
        cache = cache_dir(self.repository) / "files" / "md5"
        for md5, content in ((EMPTY_FOLDER, "[]"), (EMPTY_FILE, "")):
            if not (place := cache / md5[:2] / md5[2:]).exists():
                files.write_text(place, content)

    def _write_no_metrics(self, table: str) -> dict[str, Any]:
        """Write a table of no metrics, and return its entry in dvc.lock."""
        files.write_text(self.folder / table, NO_METRICS)
        return {"hash": "md5", "md5": EMPTY_TABLE, "size": len(NO_METRICS)}

    def _drop_other_outputs(self, stages: tuple[str, ...]) -> None:
        for name, stage in read_stages(self.folder / "dvc.yaml").items():
            if name not in stages:
                for path in (self.folder / out for out in outputs_of(stage)):
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def lock_slots(repository: Path, number: int) -> Iterator[list[Slot]]:
    """Lock and yield this number of slots, the first that no other search uses."""
    folder = slots_dir(repository)
    slots: list[Slot] = []
    with ExitStack() as stack:
        for place in range(MAX_SLOTS):
            if len(slots) == number:
                break
            try:
                stack.enter_context(locked(folder / f"{place}.lock", "tune", patient=False))
            except RunError:  # used by another search
                continue
            slots.append(Slot(repository, folder / str(place)))
        yield slots


def slots_dir(repository: Path) -> Path:
    """Return the folder of the slots and of the locks between searches."""
    return repository / ".dvc" / "tmp" / "search"


def _empty_output(path: str) -> dict[str, Any]:
    """Return what dvc.lock has of an empty file, by the ending of its name, or of an empty folder."""
    found = {"md5": EMPTY_FILE} if Path(path).suffix else {"md5": EMPTY_FOLDER, "nfiles": 0}
    return {"hash": "md5", "size": 0, **found}


def _kill_holder(lock: Path) -> None:
    found = re.search(r'"pid": (\d+)', lock.read_text(encoding="utf-8"))
    if found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(int(found[1]), signal.SIGKILL)
