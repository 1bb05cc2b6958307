"""What all trials of a search start from: the commit, the parameters, the data; and whether it is what the study began with."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.study import Study

from darkroom.errors import InputError, RunError
from darkroom.params_file import read_yaml
from darkroom.search.repository import Snapshot, add_to_snapshot, take_snapshot
from darkroom.search.runs import Running
from darkroom.search.slots import MEASURED, Slot, slots_dir
from darkroom.search.space import SECTIONS
from darkroom.search.trials import locked_among_searches
from darkroom.search.writing import only_stages

DATA = ("data/raw/dataset.json", "data/split/split.json")


@dataclass(frozen=True)
class Origin:
    """What trials start from."""

    snapshot: Snapshot
    content: dict[str, Any]
    """Of params.yaml."""
    lock: str
    """Of dvc.lock, once the data is there: trials find it unchanged."""
    inputs: dict[str, str]
    """Parameters, code and data, as text or hashes."""

    @classmethod
    def prepare(cls, slot: Slot, content: dict[str, Any], log: Path) -> "Origin":
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

    def check(self, study: Study, searched: Iterable[str]) -> None:
        """Refuse to go on with a study that began with other parameters, code or data; a new one notes what it began with.

        Its trials could not be compared.

        Raises
        ------
        InputError
            Naming what differs.
        """
        keys = {*searched}
        data = set() if any(key.startswith(("download", "split", "base")) for key in keys) else set(DATA)
        ours = {name: value for name, value in self.inputs.items() if name not in DATA or name in data}
        ours = {name: value for name, value in ours.items() if not any(_is_within(name, key) for key in keys)}
        theirs = study.user_attrs.get("inputs")
        if theirs is None:
            study.set_user_attr("inputs", ours)
            return
        changed = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise InputError(
                f"{changed[0]}: is not what the study {study.study_name} began with{more}; "
                "put it back, or give tune.study a new name"
            )


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


def _is_within(name: str, key: str) -> bool:
    return name == f"params.yaml: {key}" or name.startswith(f"params.yaml: {key}.")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
