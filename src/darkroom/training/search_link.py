"""Connects a training that is a trial to its search: it reports every validation, and ends if the search prunes it.

The search is another process, whose socket is named in the environment. Results do not depend on it.
"""

import json
import os
import socket
from typing import Any

import pytorch_lightning as pl

from darkroom.base import paths
from darkroom.base.errors import Pruned, RunError
from darkroom.training.checkpoints.saved_states import StateStore

TIMEOUT_SECONDS = 60.0


class SearchReport(pl.Callback):
    """Reports validations to the search; if it prunes the trial, the training ends and its states are removed."""

    def __init__(self, address: str, store: StateStore):
        self.address, self.store = address, store

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Report from the main process, and let all processes know the decision."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        values = {"epoch": trainer.current_epoch + 1, "metrics": metrics}
        reason: str | None = trainer.strategy.broadcast(ask(self.address, values) if trainer.is_global_zero else None)
        if reason is not None:
            if trainer.is_global_zero:
                self.store.forget()
            raise Pruned(f"train: pruned at epoch {values['epoch']} by the search: {reason}; nothing was published")


def report_to_search(store: StateStore) -> list[pl.Callback]:
    """Return the callback that reports to the search, if this training belongs to one."""
    address = os.environ.get(paths.TRIAL_SOCKET)
    return [SearchReport(address, store)] if address else []


def ask(address: str, values: dict[str, Any]) -> str | None:
    """Send metrics to the search, and return the reason for pruning, or None.

    Raises
    ------
    RunError
        If the search does not respond.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT_SECONDS)
            connection.connect(address)
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.write(json.dumps(values) + "\n")
                stream.flush()
                decision = json.loads(stream.readline())
    except (OSError, ValueError) as error:
        raise RunError(f"{address}: the search does not respond ({error}); start it again, and the trial resumes") from error
    return decision["prune"]  # type: ignore[no-any-return]
