"""What killed runs left behind: experiments that DVC lists as running, half-written and damaged states."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from darkroom.base import files
from darkroom.base.errors import counted
from darkroom.health.findings import Finding, first_of, remove_command, shown_size, within
from darkroom.health.locks import owner, owner_lives
from darkroom.health.processes import is_locked
from darkroom.repository.git import prefix_of
from darkroom.stage.state_files import FINISHED

# DVC 3.67: TaskStatus of a run that is unfinished, or whose result is being collected.
UNFINISHED = range(4)
# An experiment that is being prepared has no lock yet that names its process.
PREPARING_SECONDS = 600.0
# Hashing all states of a large training takes minutes.
HASHED_BYTES = 2_000_000_000


def check_experiments(root: Path) -> Iterator[Finding]:
    """Find killed experiments of `dvc exp run --temp`, which `dvc exp show` would list as Running for ever.

    DVC 3.67 lists `.dvc/tmp/exps/standalone/run/<revision>/<revision>.run` as running while the folder that it names exists,
    whether or not a process runs in it.
    """
    exps, project = root / ".dvc" / "tmp" / "exps", prefix_of(root)
    broken, ghosts, rest, num_running = [], [], [], 0
    rows = {row: _row(row) for row in sorted(exps.glob("*/run/*")) if row.is_dir()}
    noted = {Path(str(info.get("root_dir"))) for info in rows.values() if info}
    for row, info in rows.items():
        if info is None:
            broken.append(row)
            continue
        folder = Path(str(info.get("root_dir")))
        if info.get("status") in UNFINISHED and folder.is_dir():
            if _runs(folder / project, since=row):
                num_running += 1
            else:
                ghosts.append(str(info.get("name") or row.name[:7]))
                # Only folders of DVC's own are removed, whatever the file names.
                rest += [row, folder] if folder.parent.parent == exps else [row]
    rest += [
        folder
        for folder in exps.glob("*/tmp*")
        if folder.is_dir() and folder not in noted and not _runs(folder / project, since=folder)
    ]
    yield _experiments(root, broken, ghosts, rest, num_running)


def _experiments(root: Path, broken: list[Path], ghosts: list[str], rest: list[Path], num_running: int) -> Finding:
    way_out = remove_command(root, broken + rest)
    if broken:
        text = f"{within(root, broken[0])} is damaged: 'dvc exp show' fails"
        return Finding("fail", "experiments", text, way_out)
    if ghosts:
        text = f"{first_of(ghosts)} was killed, but 'dvc exp show' lists it as running"
        return Finding("warn", "experiments", text, way_out)
    if rest:
        return Finding("warn", "experiments", f"{counted(len(rest), 'folder')} of killed experiments", way_out)
    return Finding("ok", "experiments", f"{num_running or 'none'} running in temporary folders, none left over")


def _row(folder: Path) -> dict[str, Any] | None:
    """Return DVC's record of an experiment; None if it cannot be read."""
    try:
        content = json.loads((folder / f"{folder.name}.run").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _runs(folder: Path, *, since: Path) -> bool:
    """Return whether the DVC of an experiment is alive; its process is in the lock file of the project's folder there."""
    lock = folder / ".dvc" / "tmp" / "lock"
    if lock.exists() and owner(lock):
        return owner_lives(lock)
    return time.time() - since.stat().st_mtime < PREPARING_SECONDS


def check_states(root: Path, states_dir: Path) -> Iterator[Finding]:
    """Check the states of unfinished trainings: their number, their size, whether they are damaged."""
    states = _sizes(sorted(states_dir.glob("*/[0-9]*.ckpt"), key=lambda path: path.name, reverse=True))
    weights = _sizes(sorted(states_dir.glob("*/[0-9]*.safetensors")))
    writing = _sizes(rest for rest in sorted(states_dir.glob(f"*/{files.WRITING}*")) if not _in_use(rest.parent))
    unfinished = {path.parent for path in states} - {path.parent for path in states if path.stem.split("-")[1] == str(FINISHED)}
    damaged, num_read = _damaged(states | weights)
    size = shown_size(sum([*states.values(), *weights.values(), *writing.values()]))
    if damaged:
        text = f"{first_of([within(root, path) for path in damaged])} is damaged"
        yield Finding("fail", "resume", text, remove_command(root, damaged))
    elif writing:
        text = f"{counted(len(writing), 'half-written state')} of killed trainings ({size} in all)"
        yield Finding("warn", "resume", text, remove_command(root, writing))
    elif unfinished:
        num_files = len(states) + len(weights)
        read = "" if num_read == num_files else f", {num_read} of {num_files} files read"
        yield Finding("ok", "resume", f"{counted(len(unfinished), 'unfinished training')}, {size}{read}")
    else:
        yield Finding("ok", "resume", "no unfinished training")


def check_features(root: Path, features_dir: Path) -> Iterator[Finding]:
    """Say how much is kept of features of images, which commands compute again where they are removed."""
    sizes = _sizes(features_dir.rglob("*.np[yz]"))
    kept = f"{shown_size(sum(sizes.values()))} of kept features in {within(root, features_dir)}" if sizes else "none kept"
    yield Finding("ok", "features", kept)


def _sizes(found: Iterable[Path]) -> dict[Path, int]:
    """Return the size of each file; files that a training has just removed are left out."""
    sizes = {}
    for path in found:
        with suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    return sizes


def _damaged(states: dict[Path, int]) -> tuple[list[Path], int]:
    """Return the files whose SHA-256 is not that in their name, and how many files were read."""
    damaged: list[Path] = []
    left = HASHED_BYTES
    for number, (path, size) in enumerate(states.items()):
        left -= size
        if left < 0 and number:
            return damaged, number
        with suppress(FileNotFoundError):
            if files.sha256(path) != path.stem.rpartition("-")[2]:
                damaged.append(path)
    return damaged, len(states)


def _in_use(folder: Path) -> bool:
    lock = folder / "lock"
    return lock.exists() and is_locked(lock, "fcntl")
