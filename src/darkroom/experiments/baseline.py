"""What all trials of a search start from: the commit, the parameters, the data; and whether it is what the study began with."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.errors import RunError
from darkroom.experiments.leases import locked_among_searches
from darkroom.experiments.overrides import SECTIONS
from darkroom.experiments.repository import Snapshot, add_to_snapshot, take_snapshot
from darkroom.experiments.runs import Running
from darkroom.experiments.slots import MEASURED, Slot, slots_dir
from darkroom.experiments.writing import only_stages
from darkroom.params_file import read_yaml

DATA = ("data/raw/dataset.json", "data/split/split.json")


@dataclass(frozen=True)
class Baseline:
    """What trials start from."""

    snapshot: Snapshot
    content: dict[str, Any]
    """Of params.yaml."""
    lock: str
    """Of dvc.lock, once the data is there: trials find it unchanged."""
    inputs: dict[str, str]
    """Parameters, code and data, as text or hashes."""

    @classmethod
    def prepare(cls, slot: Slot, content: dict[str, Any], log: Path) -> "Baseline":
        """Make, or find, the data, once for all trials.

        Raises
        ------
        RunError
            If the stages of the data fail.
        """
        snapshot = take_snapshot(slot.repository)
        stages = ("download", "split")
        with locked_among_searches(slots_dir(slot.repository) / "data.asking"):
            slot.open(snapshot, content, lock=None, stages=stages)
            outcome = Running().run(slot, "split", env={}, log=log)
        if outcome.kind == "interrupted":
            raise RunError(f"{log}: the stages of the data were killed ({outcome.reason}); run the same command again")
        if outcome.kind != "done":
            raise RunError(f"{log}: there is no data to train on ({outcome.reason}); mend that, and run the same command again")
        lock = only_stages((slot.folder / "dvc.lock").read_text(encoding="utf-8"), stages)
        # Split measures the data into files that DVC's cache does not have: without them every trial would run it again.
        snapshot = add_to_snapshot(slot.repository, snapshot, slot.folder, MEASURED)
        return cls(snapshot, content, lock, _inputs(slot, content))


def _inputs(slot: Slot, content: dict[str, Any]) -> dict[str, str]:
    found = {f"params.yaml: {key}": value for name in SECTIONS for key, value in _flat(content.get(name), name)}
    for dependency in read_yaml(slot.folder / "dvc.yaml")["stages"]["train"]["deps"]:
        path = slot.folder / dependency
        if dependency.startswith("src/"):
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                found[file.relative_to(slot.folder).as_posix()] = _hash(file)
    return found | {name: _hash(slot.folder / name) for name in DATA}


def _flat(value: Any, key: str) -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [item for name, each in value.items() for item in _flat(each, f"{key}.{name}")]
    return [(key, json.dumps(value, default=str))]


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
