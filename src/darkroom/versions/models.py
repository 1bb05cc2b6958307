"""The published model of a revision, or of a folder, and all that its training can go on from, as bytes."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.versions.revisions import open_revision

MODEL = ("model.json", "model.safetensors")
MODELS, CHECKPOINTS, INDEX = "models", "models/checkpoints", "index.json"
KEPT_EPOCH = re.compile(r"(?:(?P<checkpoints>.*)/)?(?P<name>epoch_\d+)")


@dataclass(frozen=True)
class RecordedTraining:
    """What is left of a training.

    Attributes
    ----------
    name : str
        As it was named, with the commit.
    commit : str or None
        The whole hash; None for a folder or a file.
    model : dict of bytes
        `model.json` and `model.safetensors`; empty if there is a state.
    state : bytes or None
        The state after an epoch; None: only weights were kept.
    weights : dict of bytes
        Weights of the best epochs until then, by the names in the state.
    """

    name: str
    commit: str | None
    model: Mapping[str, bytes]
    state: bytes | None
    weights: Mapping[str, bytes]

    @property
    def sha256(self) -> dict[str, str]:
        """Hash of the state, or of each file of the model."""
        content = {"state": self.state} if self.state is not None else self.model
        return {name: hashlib.sha256(value).hexdigest() for name, value in content.items()}


def read_model(root: Path, repository: Path, name: str) -> tuple[str, dict[str, bytes]]:
    """Read the published model of a folder or of a revision.

    Parameters
    ----------
    root
        What the path of a folder is relative to.
    repository
        The Git repository with the branches and experiments.
    name
        Path, commit, branch, tag or experiment; `commit:folder` for a folder other than `models`.

    Returns
    -------
    name, content
        The name with the commit, and the bytes of each file.

    Raises
    ------
    InputError
        If there is no such model.
    """
    path = _place(root, name)
    if path.is_dir():
        try:
            return name, {file: files.read_regular(path / file) for file in MODEL}
        except OSError as error:
            file = Path(str(error.filename)).name
            what = f"has no {file}" if isinstance(error, FileNotFoundError) else f"{file} cannot be read ({error.strerror})"
            raise InputError(f"{name}: {what}; name the folder of a published model, or a revision") from None
    # As in `git show`; no name in Git has a colon.
    commit, _, folder = name.partition(":")
    revision = open_revision(repository, commit, (MODELS,))
    content = {file: revision.read(f"{folder.rstrip('/') or MODELS}/{file}") for file in MODEL}
    return (f"{revision}:{folder}" if folder else str(revision)), content


def read_training(root: Path, repository: Path, name: str | None) -> RecordedTraining | None:
    """Read what a training can go on from: the state of a kept epoch or the last one, or else the published weights.

    None if no name is given, or that of a file, which is a checkpoint.

    Parameters
    ----------
    root, repository
        As for `read_model`.
    name
        As for `read_model`; `commit:models/checkpoints/epoch_0005`, or such a folder, is a kept epoch.

    Raises
    ------
    InputError
        If there is no such training, or a file is damaged.
    """
    if name is None or (root / name).is_file():
        return None
    path = _place(root, name)
    if path.is_dir():
        # Folders that were copied from elsewhere: `models`, its `checkpoints`, or a kept epoch.
        kept = KEPT_EPOCH.fullmatch(path.as_posix())
        checkpoints = path.parent if kept else path / "checkpoints"
        entry = kept["name"] if kept else None
        if (checkpoints / INDEX).is_file() and (
            found := _read_state(lambda file: files.read_regular(checkpoints / file), entry, name)
        ):
            return RecordedTraining(name, None, {}, *found)
        return RecordedTraining(*_without_commit(read_model(root, repository, name)), None, {})
    commit, _, folder = name.partition(":")
    revision = open_revision(repository, commit, (MODELS,))
    kept = KEPT_EPOCH.fullmatch(folder.rstrip("/"))
    checkpoints_of = (kept["checkpoints"] or ".") if kept else f"{folder.rstrip('/') or MODELS}/checkpoints"
    shown = f"{revision}:{folder}" if folder else str(revision)
    if CHECKPOINTS in revision.outs:
        entry = kept["name"] if kept else None
        if found := _read_state(lambda file: revision.read(f"{checkpoints_of}/{file}"), entry, name):
            return RecordedTraining(shown, revision.commit, {}, *found)
    content = {file: revision.read(f"{folder.rstrip('/') or MODELS}/{file}") for file in MODEL}
    return RecordedTraining(shown, revision.commit, content, None, {})


def _place(root: Path, name: str) -> Path:
    path = root / name
    if path.resolve().is_relative_to(root.resolve() / MODELS):
        raise InputError(f"{name}: is removed when training starts; name what './darkroom commit HEAD:{name}' prints")
    return path


def _without_commit(model: tuple[str, dict[str, bytes]]) -> tuple[str, None, dict[str, bytes]]:
    return model[0], None, model[1]


def _read_state(read: Callable[[str], bytes], entry: str | None, name: str) -> tuple[bytes, dict[str, bytes]] | None:
    """Return the state of a kept epoch, or of the last one, and the weights that it names; None if there is none."""
    try:
        index: dict[str, Any] = files.parse_sealed_json(read(INDEX))
        states: dict[str, list[str]] = index.get("states", {})
        chosen = entry or max(states, default="")
        if chosen not in states:
            return None
        content = {file: read(f"states/{file}") for file in (f"{chosen}.ckpt", *states[chosen])}
        for file, value in content.items():
            if hashlib.sha256(value).hexdigest() != index["files"][f"states/{file}"]:
                raise ValueError(f"states/{file} does not have the SHA-256 that {INDEX} records")
    except (ValueError, KeyError, TypeError, FileNotFoundError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: its kept states are damaged ({error}); name another revision") from None
    return content.pop(f"{chosen}.ckpt"), content
