"""States of unfinished trainings on disk: found by parameters, code and data, and verified before they are used."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from darkroom.base import files, paths
from darkroom.base.errors import RunError, is_main_process, warn
from darkroom.base.params import HardwareParams, Params
from darkroom.hardware.devices import machine
from darkroom.models.model_json import packages, science
from darkroom.stage.lock import locked
from darkroom.stage.state_files import KEPT_STATE_SUFFIX, WEIGHTS_SUFFIX
from darkroom.training.checkpoints.collect import Limits, collect
from darkroom.training.checkpoints.saved_trainings import ABOUT, STARTED, state_stem
from darkroom.training.checkpoints.started import how_it_was_started

# The newest two, so that one damaged file does not cost the whole training.
KEPT_PER_TRAINING = 2
# A checkpoint holds weights, two moments of the optimizer and an average of the weights.
COPIES_IN_STATE = 4
Weights = dict[str, Tensor]


class StateStore:
    """The states of one training, in a folder of `.resume` named after a hash of all that the result depends on.

    Parameters
    ----------
    root
        The folder `.resume`.
    about
        What the result depends on, as plain JSON: parameters, code, data, packages.

    Attributes
    ----------
    folder : Path
        `root` / the first digits of the hash of `about`.
    """

    def __init__(self, root: Path, about: Mapping[str, Any]):
        self.root, self.about = root, json.loads(json.dumps(about, sort_keys=True))
        fingerprint = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()
        self.folder = root / fingerprint[:16]
        self.log_dir = self.folder / "log"
        self._needed: set[str] = set()
        """Files of weights that the newest state on disk names."""

    @contextmanager
    def held(self, limits: Limits | HardwareParams = Limits()) -> Iterator[None]:  # noqa: B008 - it is never changed
        """Lock the folder against other workspaces that train the same, and remove states that are beyond the limits."""
        files.make_folder(self.folder)
        if not is_main_process():
            yield
            return
        with locked(self.folder / "lock", "train"):
            files.sweep(self.folder)
            files.write_json(self.folder / ABOUT, self.about)
            files.write_json(self.folder / STARTED, how_it_was_started())
            collect(self.root, self.folder, limits)
            yield

    def latest(self) -> dict[str, Any] | None:
        """Return the newest undamaged state, on the CPU, or None.

        A state is opened only if it has the SHA-256 in its name, and runs no code. So are the files of weights that it names.
        """
        for path in self._states():
            fault = "is damaged (its SHA-256 differs)"
            if files.has_named_hash(path):
                try:
                    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
                except pickle.UnpicklingError:
                    fault = "cannot be opened without running code"
                else:
                    needed = set(state.get("weights", []))
                    if all(files.has_named_hash(self.folder / name) for name in needed):
                        self._needed = needed
                        return state
                    fault = "names weights that are damaged or missing"
            warn(f"{paths.shown(path)}: {fault}; an earlier state is used if there is one")
            path.unlink()
        return None

    def save_weights(self, epoch: int, weights: Weights) -> str:
        """Write the weights of an epoch to a file, and return its name for the state.

        Raises
        ------
        RunError
            If the disk is full or fails.
        """
        contiguous = {name: value.contiguous() for name, value in weights.items()}
        try:
            stem = f"{epoch:012d}-weights"
            return files.write_hash_named(self.folder, stem, WEIGHTS_SUFFIX, partial(save_file, contiguous)).name
        except (OSError, SafetensorError) as error:
            raise self._unsaved(f"the weights of epoch {epoch}", error) from error

    def adopt(self, weights: Mapping[str, bytes]) -> None:
        """Write weights of another training that a state to resume from names."""
        for name, content in weights.items():
            with files.replaced_file(self.folder / Path(name).name) as temporary:
                temporary.write_bytes(content)
        self._needed |= set(weights)

    def save_kept_state(self, epoch: int, state: Mapping[str, Any]) -> str:
        """Write the state after a kept epoch to a file of its own, and return the name."""
        try:
            return files.write_hash_named(self.folder, f"{epoch:012d}-kept", KEPT_STATE_SUFFIX, partial(_write_state, state)).name
        except (OSError, RuntimeError) as error:
            raise self._unsaved(f"the state of epoch {epoch}", error) from error

    def load_weights(self, name: str) -> Weights:
        """Return weights that `save_weights` wrote, on the CPU."""
        return load_file(self.verified(name))

    def verified(self, name: str) -> Path:
        """Return the path of a file whose name has its hash."""
        path = self.folder / name
        if not files.has_named_hash(path):
            raise RunError(
                f"{paths.shown(path)}: is damaged or missing; "
                "run the same command to resume from an earlier state or to start again"
            )
        return path

    def _unsaved(self, what: str, error: Exception) -> RunError:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        return RunError(
            f"{paths.shown(self.folder)}: {what} cannot be saved ({reason}); "
            "free disk space or fix the permissions, and run the same command to resume from the previous state"
        )

    def save(self, state: Mapping[str, Any], *, step: int, phase: int, weights: Iterable[str] = ()) -> None:
        """Write a state, and remove old ones; `phase` orders states of the same step.

        Files of weights are kept if this state (`weights`) or the previous one names them.

        Raises
        ------
        RunError
            If the disk is full or fails; earlier states are unchanged.
        """
        named = sorted(set(weights))
        try:
            write = partial(_write_state, {**state, "weights": named})
            epoch = state.get("darkroom", {}).get("epoch")
            files.write_hash_named(self.folder, state_stem(step, phase, epoch), ".ckpt", write)
        except (OSError, RuntimeError) as error:
            raise self._unsaved(f"the state of step {step}", error) from error
        for old in self._states()[KEPT_PER_TRAINING:]:
            old.unlink()
        for path in self._kept():
            if path.name not in self._needed.union(named):
                path.unlink()
        self._needed = set(named)

    def forget(self) -> None:
        """Remove all states."""
        for path in [*self._states(), *self._kept()]:
            path.unlink()

    def check_space(self, weights_bytes: int, num_kept: int = 1) -> None:
        """Refuse to start if the disk cannot hold the states and the weights of `num_kept` epochs.

        Raises
        ------
        RunError
            Saying how much is needed and how much is there.
        """
        # Kept weights (and one file that no state names yet) are stored here, and published with the best ones once more.
        needed = weights_bytes * (COPIES_IN_STATE * (KEPT_PER_TRAINING + 1) + 2 * (num_kept + 1))
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise RunError(
                f"{paths.shown(self.root)}: training needs {needed / 1e9:.1f} GB for its states and model, "
                f"but the disk has {free / 1e9:.1f} GB free; free disk space ('./darkroom doctor' lists what can be removed)"
            )

    def _states(self) -> list[Path]:
        """Return the states, newest first: by step, as clocks can go backwards."""
        return sorted(self.folder.glob("[0-9]*.ckpt"), reverse=True)

    def _kept(self) -> list[Path]:
        return [path for suffix in (WEIGHTS_SUFFIX, KEPT_STATE_SUFFIX) for path in self.folder.glob(f"[0-9]*{suffix}")]

    def others(self) -> list[Path]:
        """Return the folders of other trainings."""
        return [folder for folder in self.root.iterdir() if folder.is_dir() and folder != self.folder]


def _write_state(state: Mapping[str, Any], path: Path) -> None:
    with path.open("wb") as file:
        torch.save(state, file)


def depends_on(
    code: Mapping[str, str],
    params: Params,
    data_sha256: dict[str, str],
    origin: Mapping[str, Any] | None = None,
    teacher: Mapping[str, Any] | None = None,
    resumed: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return all that the bits of a training depend on; where and how often its state is saved is not included.

    `code` are the hashes of source files by path. `origin`, `teacher` and `resumed` identify the initial weights, the teacher and
    the training that is resumed: a name in params.yaml can mean another model later.
    """
    weights, used = {"origin": origin, "teacher": teacher, **({"resumed": resumed} if resumed else {})}, science(params)
    computed = {"packages": packages(used), "machine": machine(params.hardware)}
    return {"params": used, "data": data_sha256, **weights, "code": dict(code), **computed}
