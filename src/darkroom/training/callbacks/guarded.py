"""Makes a callback of `train.callbacks` safe to run: errors are one line with its name, its state can be resumed from."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import DeviceStatsMonitor, ModelSummary
from torch import Tensor

from darkroom.base.errors import InputError, RunError, described
from darkroom.training.observing.live import LiveLogger

HOOKS = [name for name in vars(pl.Callback) if name.startswith(("on_", "setup", "teardown", "state_dict", "load_state_dict"))]
# Where Lightning's callbacks write what `verbose` asks for; the Trainer's own messages there are silenced.
MESSAGES = ("pytorch_lightning.callbacks", "pytorch_lightning.utilities.rank_zero")
# What torch loads from a file without running code.
PLAIN = (type(None), bool, int, float, str, bytes, Tensor)
Hook = Callable[..., Any]


def guard(callback: pl.Callback, where: str) -> pl.Callback:
    """Return the callback with its hooks guarded.

    Parameters
    ----------
    callback
        Changed in place, so that Lightning still sees its class.
    where
        Its key and name, for errors.
    """
    for name in HOOKS:
        if getattr(type(callback), name) is getattr(pl.Callback, name):
            continue
        hook: Hook = getattr(callback, name)
        if name == "state_dict":
            hook = _with_plain_state(hook, where)
        if name == "on_save_checkpoint":
            hook = _with_plain_additions(hook, where)
        if isinstance(callback, DeviceStatsMonitor) and name != "setup":
            hook = _beside_dvclive(hook)
        if getattr(callback, "verbose", False) or isinstance(callback, ModelSummary):
            hook = _heard(hook)
        setattr(callback, name, _explained(hook, f"{where}: {name}"))
    return callback


def _explained(hook: Hook, where: str) -> Hook:
    """Turn errors into one line."""

    @wraps(hook)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return hook(*arguments, **named)
        except (InputError, RunError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise RunError(f"{where} fails ({' '.join(described(error).split())}); fix it, or remove it from the list") from error

    return call


def _with_plain_state(hook: Hook, where: str) -> Hook:
    @wraps(hook)
    def call() -> dict[str, Any]:
        state: dict[str, Any] = hook()
        _check_plain(state, f"{where}: state_dict")
        return state

    return call


def _with_plain_additions(hook: Hook, where: str) -> Hook:
    @wraps(hook)
    def call(trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        before = set(checkpoint)
        hook(trainer, pl_module, checkpoint)
        for name in set(checkpoint) - before:
            _check_plain(checkpoint[name], f"{where}: on_save_checkpoint, {name}")

    return call


def _check_plain(value: Any, where: str) -> None:
    """Refuse what could not be loaded again: a training would start anew instead of resuming."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain(key, where)
            _check_plain(item, f"{where}, {key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item, where)
    elif type(value) not in PLAIN and not isinstance(value, Tensor):
        raise RunError(
            f"{where} is a {type(value).__name__}, which cannot be resumed from; "
            "save numbers, text, tensors, or lists and mappings of these"
        )


def _beside_dvclive(hook: Hook) -> Hook:
    """Hide DVCLive from a callback that measures the machine: metrics/train must be the same for the same training."""

    @wraps(hook)
    def call(trainer: pl.Trainer, *arguments: Any, **named: Any) -> Any:
        loggers = trainer.loggers
        trainer.loggers = [each for each in loggers if not isinstance(each, LiveLogger)]
        try:
            return hook(trainer, *arguments, **named)
        finally:
            trainer.loggers = loggers

    return call


def _heard(hook: Hook) -> Hook:
    """Let its messages through."""

    @wraps(hook)
    def call(*arguments: Any, **named: Any) -> Any:
        with _messages():
            return hook(*arguments, **named)

    return call


@contextmanager
def _messages() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in MESSAGES}
    for name in MESSAGES:
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
