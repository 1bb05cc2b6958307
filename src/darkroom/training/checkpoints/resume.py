"""Resuming an interrupted training with the same bits: when its state is saved, what is in it, and how it is restored.

A state is saved between two optimizer steps. All random numbers are functions of seed, epoch, step and image, so the state holds
only weights, optimizer, schedule, counters, the best epochs so far and the log.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from darkroom.base.errors import Interrupted
from darkroom.base.signals import SIGNALS
from darkroom.base.state_files import EPOCH_OVER, FINISHED, WITHIN_EPOCH
from darkroom.training.checkpoints.saved_states import StateStore

State = dict[str, Any]
"""A checkpoint of Lightning with its counters set to a step boundary, and `darkroom`: epoch, batch, finished, log."""


class KeepState(pl.Callback):
    """Saves the state after every epoch, within long epochs, and when a signal ends the training.

    Parameters
    ----------
    store
        Where states are kept.
    every_minutes
        Time after which the state is saved within an epoch.
    """

    def __init__(self, store: StateStore, every_minutes: float):
        self.store, self.every_seconds = store, 60 * every_minutes
        self.received: int | None = None
        self.saved = time.monotonic()
        self.resuming = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Install handlers by which a signal ends the training after the next step; Lightning restores the old ones."""
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._receive)
        self.resuming = trainer.fit_loop.restarting

    def _receive(self, number: int, _: FrameType | None) -> None:
        # A second signal does not wait for the end of the step.
        if self.received is not None:
            raise Interrupted(number, "run the same command to resume from the last saved state")
        self.received = number

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Save the state of the previous epoch, whose log is complete only now."""
        if self._is_resumed(trainer) or trainer.current_epoch == 0:
            return
        self._save(trainer, EPOCH_OVER, batch=0, validated=True)
        self._end_if_asked(trainer)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Reset Lightning's flag that the training is being resumed."""
        self._is_resumed(trainer)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Save within the epoch, after an optimizer step, if it is time or a signal was received."""
        loop, fetcher = trainer.fit_loop.epoch_loop, trainer.fit_loop._data_fetcher
        assert fetcher is not None
        validated = not loop._should_check_val_fx(fetcher)
        # A checkpoint has no gradients of an unfinished step; a finished epoch is saved when the next one begins.
        if loop._should_accumulate() or (validated and loop._num_ready_batches_reached()):
            return
        due = self.received is not None or time.monotonic() - self.saved > self.every_seconds
        if trainer.world_size > 1:
            due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if due:
            self._save(trainer, WITHIN_EPOCH, batch=batch_idx + 1, validated=validated)
            self._end_if_asked(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Reset Lightning's flag that the training is being resumed."""
        self._is_resumed(trainer)

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """End within a validation if a signal was received; the validation is repeated after the resume."""
        if self.received is not None and trainer.world_size == 1:
            self._save(trainer, WITHIN_EPOCH, batch=trainer.fit_loop.epoch_loop.batch_idx + 1, validated=False)
            self._end_if_asked(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Save the state of the finished training."""
        self._save(trainer, FINISHED, batch=0, validated=True)
        self._end_if_asked(trainer)

    def _is_resumed(self, trainer: pl.Trainer) -> bool:
        """Return, once, whether this is the first hook after a resume.

        Lightning would treat the whole epoch as resumed, and not step schedules that need a metric at its end.
        """
        resumed, self.resuming = self.resuming, False
        if resumed:
            trainer.fit_loop.restarting = False
        return resumed

    def _end_if_asked(self, trainer: pl.Trainer) -> None:
        received = self.received
        if trainer.world_size > 1:
            numbers = trainer.strategy.all_gather(torch.tensor(received or 0, device=trainer.strategy.root_device))
            received = int(numbers.max()) or None
        if received is None:
            return
        if trainer.is_global_zero:
            _requeue(trainer, received)
        where = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        raise Interrupted(received, f"the state of {where} is saved; run the same command to resume")

    def _save(self, trainer: pl.Trainer, phase: int, *, batch: int, validated: bool) -> None:
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        epoch = trainer.current_epoch
        _set_counters(state["loops"]["fit_loop"], epoch, batch, validated=validated)
        if trainer.is_global_zero:
            state["darkroom"] = {
                "epoch": epoch,
                "batch": batch,
                "finished": phase == FINISHED,
                "log": read_files(self.store.log_dir),
            }
            weights = [kept["file"] for kept in state["callbacks"]["KeepBest"]["kept"]]
            self.store.save(state, step=trainer.global_step, phase=phase, weights=weights)
        self.saved = time.monotonic()


class StateInMemory(TorchCheckpointIO):
    """Gives Lightning a state that was read and verified already, in place of a file; a ModelCheckpoint writes files."""

    def __init__(self, state: State):
        self.state = state

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> State:  # noqa: ARG002
        """Return the state."""
        return self.state


def read_files(directory: Path) -> dict[str, Tensor]:
    """Return the files below a folder by relative path, as (bytes,) uint8, which torch can load without running code."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): torch.from_numpy(np.fromfile(path, np.uint8)) for path in found}


def write_files(directory: Path, content: dict[str, Tensor]) -> None:
    """Write files that `read_files` returned."""
    for name, values in content.items():
        path = directory / name
        if not path.resolve().is_relative_to(directory.resolve()):
            raise ValueError(f"{name}: is outside of the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(values.numpy().data)


def _set_counters(loops: dict[str, Any], epoch: int, batch: int, *, validated: bool) -> None:
    """Set Lightning's counters to the boundary before a batch of an epoch.

    Its own counters depend on the hook that saves, and are wrong in the checkpoints after a resume from the last batch of an
    epoch (seen with 2.6.6).

    Parameters
    ----------
    loops
        State of the fit loop, changed in place.
    epoch
        Number of finished epochs.
    batch
        Number of batches of the next one that were trained on.
    validated
        Whether the validation after that batch, if there is one, is done.
    """
    begun = epoch + (batch > 0)
    loops["epoch_progress"] = _progress(begun, epoch)
    train = loops["epoch_loop.batch_progress"]
    total = train["total"]["processed"]
    train["total"], train["current"] = _counts(total, total), _counts(batch, batch)
    train["is_last_batch"] = train["is_last_batch"] and batch > 0
    val = loops["epoch_loop.val_loop.batch_progress"]
    # A batch that was begun and not finished makes Lightning repeat the validation.
    val["total"], val["current"], val["is_last_batch"] = _counts(int(not validated), 0), _counts(0, 0), False
    if batch > 0 and validated:
        loops["epoch_loop.state_dict"]["_batches_that_stepped"] += 1


def _progress(begun: int, over: int) -> dict[str, Any]:
    return {"total": _counts(begun, over), "current": _counts(begun, over)}


def _counts(begun: int, over: int) -> dict[str, int]:
    return {"ready": begun, "started": begun, "processed": over, "completed": over}


def _requeue(trainer: pl.Trainer, received: int) -> None:
    """Requeue a SLURM job on the signal before its time limit, as Lightning does."""
    environment = trainer._accelerator_connector.cluster_environment
    if not (isinstance(environment, SLURMEnvironment) and environment.auto_requeue):
        return
    if received == (environment.requeue_signal or signal.SIGUSR1):
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
        subprocess.run(["scontrol", "requeue", job], check=False)


def describe(state: State | None, store: StateStore) -> str | None:
    """Return a line on how the training starts: resumed, finished before, or fresh in spite of another state."""
    if state is None:
        why = store.why_fresh()
        return f"train: starting fresh: {why}" if why else None
    if state["darkroom"]["finished"]:
        return "train: finished before with the same parameters, data and code; publishing its result"
    epoch, step = state["darkroom"]["epoch"] + 1, state["global_step"]
    return f"train: resuming at epoch {epoch}, step {step}: same parameters, data, code"
