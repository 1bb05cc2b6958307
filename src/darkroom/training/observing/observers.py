"""All that observes a training without changing its result: loggers, system measurements, inspection, provenance."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from darkroom.base import files, paths
from darkroom.base.errors import is_main_process
from darkroom.base.params import Params
from darkroom.training.observing.inspection import Histograms, Inputs, Profile
from darkroom.training.observing.loggers import KeepLoggers, open_loggers
from darkroom.training.observing.provenance import write_circumstances
from darkroom.training.observing.resilient_logger import ResilientLogger
from darkroom.training.observing.system import SystemMonitor


@dataclass(frozen=True)
class Observers:
    """Loggers, callbacks and arguments for the Trainer; empty in processes that do not write."""

    loggers: list[ResilientLogger] = field(default_factory=list)
    callbacks: list[pl.Callback] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    """Of the Trainer."""
    folder: Path | None = None
    """Where they write."""


@contextmanager
def observing(params: Params, logs: Path | None, state: dict[str, Any] | None, name: str) -> Iterator[Observers]:
    """Open all observers that params.yaml names, in a folder of this training below `logs`, and close them at the end.

    Parameters
    ----------
    params
        The parameters.
    logs
        The folder `logs`; None: there are no observers.
    state
        State from which the training is resumed, in the same folder; a finished training is not observed.
    name
        Name of the folder, after the time, if the training is not a DVC experiment.

    Raises
    ------
    InputError, RunError
        If a logger cannot be opened.
    """
    if logs is None or not is_main_process():
        yield Observers()
        return
    known = state or {}
    _remove_temporary(logs, known, name)
    if known and known["darkroom"]["finished"]:
        yield Observers()
        return
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = logs / (known.get("logs") or f"{started}_{os.environ.get('DVC_EXP_NAME') or name}")
    folder.mkdir(parents=True, exist_ok=True)
    write_circumstances(folder, params)
    # With fast_dev_run Lightning uses no loggers.
    is_fast_dev_run = bool(params.train.trainer.fast_dev_run)
    loggers = [] if is_fast_dev_run else open_loggers(params, folder, known.get("loggers", {}))
    observers = Observers(loggers, [KeepLoggers(folder, loggers)], folder=folder)
    print(f"train: logs are written to {paths.shown(folder)}", flush=True)
    with ExitStack() as stack:
        if params.hardware.watch:
            observers.callbacks.insert(0, stack.enter_context(SystemMonitor(folder, loggers)))
        if "histograms" in params.train.inspect:
            observers.callbacks.insert(0, Histograms(folder, loggers))
        if "inputs" in params.train.inspect:
            observers.callbacks.insert(0, Inputs(folder, loggers))
        if "profiler" in params.train.inspect:
            profile = Profile(folder)
            observers.callbacks.insert(0, profile)
            observers.arguments["profiler"] = profile.parts
            stack.callback(profile.write)
        yield observers


def _remove_temporary(logs: Path, known: dict[str, Any], name: str) -> None:
    """Remove temporary files of an earlier run that was killed; no other process writes there, since the state is locked."""
    folders = list(logs.glob(f"*_{name}"))
    if "logs" in known:
        folders.append(logs / known["logs"])
    for folder in folders:
        files.sweep(folder)
