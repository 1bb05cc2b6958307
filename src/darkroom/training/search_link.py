"""A training that is the trial of a search: after every validation it tells the search its metrics, and ends if it is told to.

The search runs elsewhere and is known by the address of a socket in the environment; results do not depend on it.
"""

import json
import os
import socket
from typing import Any

import pytorch_lightning as pl

from darkroom import paths
from darkroom.errors import Pruned, RunError
from darkroom.training.checkpoints.store import StateStore

ANSWER_SECONDS = 60.0


class TellSearch(pl.Callback):
    """Tells the search, and ends the training early, with nothing to go on from, if it does not want more of it."""

    def __init__(self, address: str, store: StateStore):
        self.address, self.store = address, store

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Let the process that writes ask, and all hear the answer."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        report = {"epoch": trainer.current_epoch + 1, "metrics": metrics}
        reason: str | None = trainer.strategy.broadcast(ask(self.address, report) if trainer.is_global_zero else None)
        if reason is not None:
            if trainer.is_global_zero:
                self.store.forget()
            raise Pruned(f"train: was ended in epoch {report['epoch']} by the search: {reason}; nothing was published")


def of_search(store: StateStore) -> list[pl.Callback]:
    """Return what tells the search that this training belongs to, if there is one."""
    address = os.environ.get(paths.TRIAL_SOCKET)
    return [TellSearch(address, store)] if address else []


def ask(address: str, report: dict[str, Any]) -> str | None:
    """Send metrics to the search, and return why the training is to end, or None.

    Raises
    ------
    RunError
        If nobody answers.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(address)
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(report) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        raise RunError(f"{address}: the search does not answer ({error}); start it again, the trial goes on") from error
    return answer["prune"]  # type: ignore[no-any-return]
