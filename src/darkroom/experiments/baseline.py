"""What all trials of a search start from: the commit, the parameters, the data."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.base.errors import RunError
from darkroom.base.nested import flatten, read_stages
from darkroom.experiments.leases import search_lock
from darkroom.experiments.overrides import SECTIONS
from darkroom.experiments.repository import Snapshot, take_snapshot
from darkroom.experiments.runs import Runner
from darkroom.experiments.slots import Slot, slots_dir
from darkroom.experiments.yaml_edits import only_stages

DATA = ("data/raw/dataset.json", "data/split/split.json")


@dataclass(frozen=True)
class Baseline:
    """What trials start from."""

    snapshot: Snapshot
    content: dict[str, Any]
    """Content of params.yaml."""
    lock: str
    """Content of dvc.lock after download and split, so that trials do not run them again."""
    inputs: dict[str, str]
    """Parameters as JSON, code and data as hashes."""

    @classmethod
    def prepare(cls, slot: Slot, content: dict[str, Any], log: Path) -> "Baseline":
        """Run download and split once for all trials, unless their results are in DVC's cache.

        Raises
        ------
        RunError
            If one of the two fails.
        """
        snapshot = take_snapshot(slot.repository)
        stages = ("check", "download", "split")
        with search_lock(slots_dir(slot.repository) / "data.asking"):
            slot.prepare(snapshot, content, lock=None, stages=stages)
            outcome = Runner().run(slot, "split", env={}, log=log)
        if outcome.kind == "interrupted":
            raise RunError(f"{log}: download or split was killed ({outcome.reason}); run the same command again")
        if outcome.kind != "done":
            raise RunError(f"{log}: download or split failed ({outcome.reason}); fix that, and run the same command again")
        lock = only_stages((slot.folder / "dvc.lock").read_text(encoding="utf-8"), stages)
        return cls(snapshot, content, lock, _inputs(slot, content))


def _inputs(slot: Slot, content: dict[str, Any]) -> dict[str, str]:
    inputs = {
        f"params.yaml: {key}": json.dumps(value, default=str)
        for section in SECTIONS
        for key, value in flatten(content.get(section), section)
    }
    for dependency in read_stages(slot.folder / "dvc.yaml")["train"]["deps"]:
        path = slot.folder / dependency
        if dependency.startswith("src/"):
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                inputs[file.relative_to(slot.folder).as_posix()] = _hash(file)
    return inputs | {name: _hash(slot.folder / name) for name in DATA}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
