"""The trainings of which .resume has a state: what they are, and how far. It needs no package, for `./darkroom doctor`."""

import fcntl
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from darkroom.stage.state_files import FINISHED

# What the result of a training depends on, and how it was started.
ABOUT, STARTED = "about.json", "started.json"


@dataclass(frozen=True)
class SavedTraining:
    """A training of which .resume has a state: one that was interrupted, that runs, or that DVC has not recorded yet.

    Attributes
    ----------
    folder : Path
        With its states.
    step, epoch : int, int or None
        Optimizer steps and epochs that are done; earlier versions did not note the epochs.
    is_finished : bool
        Whether only its result has to be published.
    num_bytes : int
        Of all its files.
    used : float
        When a state was last written, in seconds since 1970.
    """

    folder: Path
    step: int
    epoch: int | None
    is_finished: bool
    num_bytes: int
    used: float

    def about(self) -> dict[str, Any]:
        """Return what its result depends on: params, data, code, packages; empty if that cannot be read."""
        return _read(self.folder / ABOUT)

    def started(self) -> dict[str, Any]:
        """Return the command, folder and commit that it was last started with; empty if that cannot be read."""
        return _read(self.folder / STARTED)

    def progress(self) -> str:
        """Return how far it is, in words."""
        if self.is_finished:
            return "finished, but not published"
        try:
            epochs = f" of {self.about()['params']['train']['epochs']}"
        except (KeyError, TypeError):
            epochs = ""
        return f"step {self.step}" if self.epoch is None else f"epoch {self.epoch}{epochs} done"


def saved_trainings(root: Path) -> list[SavedTraining]:
    """Return the trainings of which .resume has a state, the one that was used last at the end."""
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        with suppress(FileNotFoundError, NotADirectoryError):  # another process may remove it meanwhile
            if states := sorted(folder.glob("[0-9]*.ckpt")):
                # <step>-<phase>-<epoch>-<SHA-256>; earlier versions left the epoch out.
                step, phase, *epoch = states[-1].stem.split("-")[:-1]
                size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
                done = int(epoch[0]) if epoch else None
                found.append(SavedTraining(folder, int(step), done, int(phase) == FINISHED, size, last_use(folder)))
    return sorted(found, key=lambda training: training.used)


def state_stem(step: int, phase: int, epoch: int | None) -> str:
    """Return the name of a state without its hash; names sort by step, then by phase."""
    return f"{step:012d}-{phase}" + ("" if epoch is None else f"-{epoch:06d}")


def last_use(folder: Path) -> float:
    """Return when the states of a training were last written."""
    return folder.stat().st_mtime


def is_in_use(folder: Path) -> bool:
    """Return whether another process trains in the folder of a training."""
    try:
        with (folder / "lock").open("r+") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def other_versions(packages: Mapping[str, str]) -> dict[str, str | None]:
    """Return the packages that are not installed in these versions, each with the installed one, or None."""
    found = {name: _version(name) for name in packages}
    return {name: now for name, now in found.items() if now != packages[name]}


def install_line(packages: Mapping[str, str], names: Iterable[str]) -> str:
    """Return the command that installs packages in these versions; torch has builds in an index of its own."""
    builds = {packages[name].partition("+")[2] for name in names} - {""}
    index = "".join(f" --extra-index-url https://download.pytorch.org/whl/{build}" for build in sorted(builds))
    return "pip install " + " ".join(f"{name}=={packages[name]}" for name in names) + index


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
