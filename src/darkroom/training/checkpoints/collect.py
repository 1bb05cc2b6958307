"""Removing the states of trainings that nobody goes on with: by age and size, never by number, and never without saying so."""

import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from darkroom.base import paths
from darkroom.base.errors import RunError
from darkroom.base.params import HardwareParams
from darkroom.stage.lock import locked
from darkroom.training.checkpoints.saved_trainings import SavedTraining, last_use, saved_trainings

DAY = 86400.0
# What is left of trainings whose states are gone: a few kilobytes, by which a fresh start is explained.
FINISHED_DAYS = 30.0


@dataclass(frozen=True)
class Limits:
    """How long, and up to which size, the states of unfinished trainings stay; `hardware` of params.yaml has the same keys.

    Attributes
    ----------
    states_max_days : float or None
        Since the last state was written; None: for ever.
    states_max_share : float or None
        Of the disk space that would be free without them. States of the last day stay in any case: a search that was killed, and
        is started again, finds those of all its trials. None: any size.
    """

    states_max_days: float | None = 30.0
    states_max_share: float | None = 0.5


def collect(root: Path, own: Path, limits: Limits | HardwareParams) -> None:
    """Remove what is beyond the limits in .resume, but the folder `own`, and say what was removed, why, and how to keep it."""
    for training, why in _beyond(saved_trainings(root), own, limits, free=shutil.disk_usage(root).free):
        what = f"{paths.shown(training.folder)} ({training.progress()}, {training.num_bytes / 1e6:.1f} MB)"
        # It is asked for again: another process may have saved a state meanwhile.
        if training.used == last_use(training.folder) and _remove(training.folder):
            print(f"train: removed the unfinished training {what}: {why}", flush=True)
    with_states = {training.folder for training in saved_trainings(root)}
    for folder in set(_folders(root)) - with_states - {own}:
        if time.time() - last_use(folder) > FINISHED_DAYS * DAY:
            _remove(folder)


def _beyond(
    trainings: Iterable[SavedTraining], own: Path, limits: Limits | HardwareParams, free: float
) -> Iterator[tuple[SavedTraining, str]]:
    """Yield the trainings to remove, the oldest first, each with the reason."""
    trainings, now = list(trainings), time.time()
    total = sum(training.num_bytes for training in trainings)
    max_days, share = limits.states_max_days, limits.states_max_share
    allowed = None if share is None else share * (free + total)
    for training in trainings:
        days = (now - training.used) / DAY
        if training.folder == own:
            continue
        if max_days is not None and days > max_days:
            why = f"not used for {days:.0f} days (hardware.states_max_days is {max_days:g}; null keeps states for ever)"
        elif allowed is not None and total > allowed and days > 1:
            why = (
                f"all of them take {total / 1e9:.1f} GB, more than {share:.0%} of what the disk has free without them "
                "(hardware.states_max_share; null keeps them whatever they take)"
            )
        else:
            continue
        total -= training.num_bytes
        yield training, why


def _folders(root: Path) -> list[Path]:
    return [folder for folder in root.iterdir() if folder.is_dir()]


def _remove(folder: Path) -> bool:
    """Remove a folder unless another process trains in it."""
    try:
        with locked(folder / "lock", "train", patient=False):
            shutil.rmtree(folder, ignore_errors=True)  # another process may begin to train in it
    except RunError:
        return False
    return True
