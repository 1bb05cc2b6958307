"""The callbacks of `train.callbacks`: Lightning's and one's own, beside those that every training has."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import DeviceStatsMonitor, EarlyStopping, ModelCheckpoint, ProgressBar
from torch import Tensor

from darkroom.base import paths
from darkroom.base.errors import InputError, listed, nearest
from darkroom.base.instantiate import Builder
from darkroom.base.params import MEASURED, MEASURED_IN_TRAINING, Params, Target
from darkroom.metrics.extra import ExtraMetrics
from darkroom.training.callbacks.guarded import guard
from darkroom.training.callbacks.refused import refuse

KEY = "train.callbacks"


class SetTableRate(pl.Callback):
    """Sets the learning rate of `train.lr_table` before the callbacks that follow look at it; the module does so after them."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Set the rate of an epoch."""
        pl_module.set_table_lr()  # type: ignore[operator]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Set it once more: a resumed epoch has no start."""
        pl_module.set_table_lr()  # type: ignore[operator]


def check_callbacks(params: Params) -> None:
    """Refuse names that are no callbacks, and those that cannot be used here.

    Raises
    ------
    InputError
        Naming train.callbacks.
    """
    for target in params.train.callbacks:
        found = _builder(params).find(target.target)
        if isinstance(found, type):
            _check_kind(params, target, found)


def build_callbacks(params: Params, metrics: ExtraMetrics, folder: Path) -> list[pl.Callback]:
    """Build all callbacks of `train.callbacks`.

    Parameters
    ----------
    params
        All of params.yaml.
    metrics
        The metrics of a validation, which know which of their values are better.
    folder
        The folder of the run in logs/, to which relative paths belong.

    Raises
    ------
    InputError
        If arguments do not fit, or two callbacks cannot be used together.
    """
    made = [_build(params, target, metrics, folder) for target in params.train.callbacks]
    bars = [type(each).__name__ for each in made if isinstance(each, ProgressBar)]
    if len(bars) > 1:
        raise InputError(f"params.yaml: {KEY}: {' and '.join(bars)} are two progress bars; remove one of them")
    keys = Counter(each.state_key for each in made if type(each).state_dict is not pl.Callback.state_dict)
    keys["KeepBest"] += 1  # of every training
    for each in made:
        if keys[each.state_key] > 1:
            raise InputError(
                f"params.yaml: {KEY}: {type(each).__name__} has the state_key of another callback; change its arguments, or "
                "let it have a state_key of its own"
            )
    before: list[pl.Callback] = [SetTableRate()] if made and params.train.lr_table else []
    return [*before, *made]


def _build(params: Params, target: Target, metrics: ExtraMetrics, folder: Path) -> pl.Callback:
    filled: dict[str, Any] = {"log_dir": str(folder)}
    found = _builder(params).find(target.target)
    if isinstance(found, type) and issubclass(found, ModelCheckpoint):
        given = target.arguments.get("dirpath")
        filled |= {"dirpath": str(folder / "checkpoints"), "enable_version_counter": False}
        target = target.with_given(dirpath=_checkpoint_dir(given, folder))
    monitor = target.arguments.get("monitor")
    if isinstance(found, type) and issubclass(found, ModelCheckpoint | EarlyStopping) and isinstance(monitor, str):
        _check_monitor(params, target, monitor, metrics)
        filled["mode"] = metrics.mode(monitor, params.train.monitor_mode)
    made: pl.Callback = _builder(params, filled).build(target)
    _check_kind(params, target, type(made))
    if isinstance(made, ModelCheckpoint):
        _name_by_steps(made)
    return guard(made, f"params.yaml: {KEY}: {target.target}")


def _builder(params: Params, filled: dict[str, Any] | None = None) -> Builder:
    return Builder(KEY, (pl.Callback,), params.base.allow_targets, filled or {})


def _check_kind(params: Params, target: Target, kind: type) -> None:
    refuse(KEY, target.target, kind)
    if issubclass(kind, DeviceStatsMonitor) and not params.train.loggers:
        raise InputError(
            f"params.yaml: {KEY}: {target.target} needs one of train.loggers, since what it measures differs from run to run and "
            "is kept out of metrics/train; set train.loggers, for example to [CSVLogger]"
        )


def _checkpoint_dir(given: Any, folder: Path) -> str:
    """Return the folder for checkpoints: a relative one is in the run's folder of logs/.

    Raises
    ------
    InputError
        If it is in the repository, but not in logs/: DVC clears outputs and records them, Git sees the rest.
    """
    if not isinstance(given, str):
        return str(folder / "checkpoints")
    if "://" in given:
        return given
    chosen = (folder / Path(given).expanduser()).resolve()
    for root in {paths.ROOT, paths.main_repository()}:
        as_meant = (root / Path(given).expanduser()).resolve()
        outputs = [root / name for name in ("data", "metrics", "models")]
        is_free = (
            chosen.is_relative_to(folder.resolve()) or not chosen.is_relative_to(root) or chosen.is_relative_to(root / "logs")
        )
        if not is_free or any(as_meant.is_relative_to(output) for output in outputs):
            raise InputError(
                f"params.yaml: {KEY}.dirpath: {given} is in the repository, whose outputs DVC clears and records; "
                "write a folder such as checkpoints, which is made beside the run's logs, or a path outside"
            )
    return str(chosen)


def _name_by_steps(checkpoint: ModelCheckpoint) -> None:
    """Let `{step}` in file names be the optimizer's step: it would be the number of the epoch, by which metrics are logged."""
    original = checkpoint._monitor_candidates

    def candidates(trainer: pl.Trainer) -> dict[str, Tensor]:
        return {**original(trainer), "step": torch.tensor(trainer.global_step)}

    checkpoint._monitor_candidates = candidates  # type: ignore[method-assign]


def _check_monitor(params: Params, target: Target, monitor: str, metrics: ExtraMetrics) -> None:
    """Refuse a metric that nothing logs, as far as this is known: modules and callbacks of one's own may log others."""
    known = [f"val/{name}" for name in (*MEASURED, *metrics.metrics)] + [f"train/{name}" for name in MEASURED_IN_TRAINING]
    if monitor not in known and not params.train.module and _are_librarys(params.train.callbacks):
        hint = nearest(monitor, known, f"use one of {listed(known)}, or add it to train.metrics")
        raise InputError(f"params.yaml: {KEY}: {target.target}.monitor: is {monitor}, which is not measured; {hint}")


def _are_librarys(targets: Iterable[Target]) -> bool:
    return all("." not in target.target or target.target.startswith("pytorch_lightning.") for target in targets)
