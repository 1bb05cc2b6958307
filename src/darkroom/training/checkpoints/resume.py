"""Resuming an interrupted training with the same bits: when its state is saved, what is in it, and how it is restored.

A state is saved between two optimizer steps. All random numbers are functions of seed, epoch, step and image, so the state holds
only weights, optimizer, schedule, counters, the best epochs so far and the log.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.plugins.io import TorchCheckpointIO

from darkroom.base.errors import Interrupted
from darkroom.base.signals import SIGNALS, end_waiting
from darkroom.stage.state_files import EPOCH_OVER, FINISHED, WITHIN_EPOCH
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.counters import set_counters
from darkroom.training.checkpoints.log_files import read_files, without_places
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
    best
        Whose epochs also keep their states, and the last epoch, to be published (`train.keep_states`); None: no.
    computes
        The precision and the memory format in use, by key of `train`, also where these are auto.
    """

    def __init__(
        self, store: StateStore, every_minutes: float, best: KeepBest | None = None, computes: Mapping[str, str] | None = None
    ):
        self.store, self.every_seconds, self.best, self.computes = store, 60 * every_minutes, best, dict(computes or {})
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
        # A second signal does not wait for the end of the step; none waits for images that take long to decode.
        if self.received is not None:
            raise Interrupted(number, "run the same command to resume from the last saved state")
        self.received = number
        end_waiting(number)

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
            done = trainer.fit_loop.epoch_loop.batch_idx + 1
            if done == 0:  # of the epoch in which the head is fitted, which is fitted again
                raise Interrupted(self.received, "the last layer was fitted; run the same command to fit it again")
            self._save(trainer, WITHIN_EPOCH, batch=done, validated=False)
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
            _requeue(received)
        where = f"epoch {trainer.current_epoch + 1}, step {trainer.global_step}"
        raise Interrupted(received, f"the state of {where} is saved; run the same command to resume")

    def _save(self, trainer: pl.Trainer, phase: int, *, batch: int, validated: bool) -> None:
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        epoch = trainer.current_epoch
        set_counters(state["loops"]["fit_loop"], epoch, batch, validated=validated)
        if trainer.is_global_zero:
            state["darkroom"] = {
                "epoch": epoch,
                "batch": batch,
                "finished": phase == FINISHED,
                "log": read_files(self.store.log_dir),
                "about": self.store.about,
                **self.computes,
            }
            weights = [kept["file"] for kept in state["callbacks"]["KeepBest"]["kept"]]
            if self.best is not None and phase != WITHIN_EPOCH:
                is_whole = phase == EPOCH_OVER or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
                weights += self._keep(self.best, state, weights, is_last=phase == FINISHED and is_whole)
            self.store.save(state, step=trainer.global_step, phase=phase, weights=weights)
        self.saved = time.monotonic()

    def _keep(self, best: KeepBest, state: State, weights: list[str], *, is_last: bool) -> list[str]:
        """Keep the state of an epoch that is kept, or the last one; return the files that all kept states need."""
        epoch, kept = state["darkroom"]["epoch"], {each.epoch for each in best.kept}
        best.states = {number: names for number, names in best.states.items() if number in kept}
        if epoch in kept or is_last:
            published = {**without_places(state), "weights": sorted(weights)}
            best.states[epoch] = [self.store.save_kept_state(epoch, published), *sorted(set(weights))]
        state["callbacks"]["KeepBest"]["states"] = dict(best.states)
        return [name for names in best.states.values() for name in names]


class StateInMemory(TorchCheckpointIO):
    """Gives Lightning a state that was read and verified already, in place of a file; a ModelCheckpoint writes files."""

    def __init__(self, state: State):
        self.state = state

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> State:  # noqa: ARG002
        """Return the state."""
        return self.state


def _requeue(received: int) -> None:
    """Requeue a SLURM job on the signal before its time limit, as Lightning does."""
    if SLURMEnvironment.detect() and received == signal.SIGUSR1:
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
        subprocess.run(["scontrol", "requeue", job], check=False)
