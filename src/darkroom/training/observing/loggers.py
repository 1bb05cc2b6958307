"""The loggers of train.loggers: built and opened before anything is trained, and continued after an interruption.

They write outside DVC's outputs. Where they write is part of the training's state.
"""

import csv
import io
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

from darkroom.base.errors import InputError, RunError
from darkroom.base.instantiate import Builder
from darkroom.base.nested import flatten
from darkroom.base.params import Params, Target
from darkroom.training.observing.resilient_logger import ResilientLogger, short_message, short_timeouts

KEY = "train.loggers"
# No usage data is sent, and the address of a run is where it is expected.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
PACKAGES = {"tensorboard": "tensorboard", "tensorboardX": "tensorboard", "mlflow": "mlflow-skinny alembic"}


class KeepLoggers(pl.Callback):
    """Saves in the training's state where the loggers write, so that a resumed training continues there.

    Parameters
    ----------
    folder
        Where the loggers write by default.
    loggers
        The open loggers; none in processes that do not log.
    """

    def __init__(self, folder: Path, loggers: list[ResilientLogger]):
        self.folder, self.loggers = folder, loggers

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Save the folder and each logger's place; `state_dict` would be called before the last steps are logged."""
        checkpoint["loggers"] = {_identity(each.target): each.resume_arguments() for each in self.loggers}
        checkpoint["logs"] = self.folder.name


def check_loggers(params: Params) -> None:
    """Refuse names that are not loggers.

    Raises
    ------
    InputError
        Naming train.loggers.
    """
    for target in params.train.loggers:
        _builder(params, {}).find(target.target)


def open_loggers(params: Params, folder: Path, kept: Mapping[str, Any]) -> list[ResilientLogger]:
    """Build and open all loggers: new ones get the hyperparameters, the others continue where they were.

    Parameters
    ----------
    params
        All of params.yaml, logged as hyperparameters.
    folder
        Where they write.
    kept
        What `KeepLoggers` has saved, by logger.

    Raises
    ------
    InputError
        If a package is missing or arguments do not fit.
    RunError
        If a server does not respond.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    logging.getLogger("pytorch_lightning.loggers").setLevel(logging.ERROR)
    return [_open(target, params, folder, kept.get(_identity(target))) for target in params.train.loggers]


def _open(target: Target, params: Params, folder: Path, kept: dict[str, Any] | None) -> ResilientLogger:
    name = target.target.rpartition(".")[2].removesuffix("Logger").lower()
    filled = {
        "save_dir": str(folder),
        "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.parent / 'mlflow.db'}",
        "experiment_name": "darkroom",
        "run_name": folder.name,
        **({"name": name} if name in ("tensorboard", "csv") else {}),
        **(kept or {}),
    }
    try:
        logger = _builder(params, filled).build(target)
    except InputError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise _missing(target, error.__cause__) from error
        raise
    opened = ResilientLogger(target, logger)
    try:
        with short_timeouts():
            experiment = opened.experiment
            if kept is None:
                logger.log_hyperparams(_hyperparameters(params))
            elif hasattr(experiment, "update_run"):
                experiment.update_run(logger.run_id, "RUNNING")
            if kept and kept.get("csv"):
                # Opening it has removed the earlier rows.
                rows = csv.DictReader(io.StringIO(kept["csv"]))
                experiment.metrics = [{key: value for key, value in row.items() if value} for row in rows]
            logger.save()
    except ModuleNotFoundError as error:
        raise _missing(target, error) from error
    except Exception as error:
        raise RunError(
            f"params.yaml: {KEY}: {target.target} cannot be opened ({short_message(error)}); "
            "start its server or correct its address, or remove it from the list"
        ) from error
    return opened


def _builder(params: Params, filled: Mapping[str, Any]) -> Builder:
    return Builder(KEY, (Logger,), params.base.allow_targets, filled)


def _missing(target: Target, error: ModuleNotFoundError) -> InputError:
    package = next((PACKAGES[name] for name in PACKAGES if name in str(error)), error.name or "what it needs")
    return InputError(
        f"params.yaml: {KEY}: {target.target} needs a package that is not installed; "
        f"run 'pip install -c requirements-dev.txt {package}'"
    )


def _identity(target: Target) -> str:
    return json.dumps(target.model_dump(by_alias=True), sort_keys=True)


def _hyperparameters(params: Params) -> dict[str, bool | int | float | str]:
    values = flatten(params.model_dump(by_alias=True))
    return {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in values}
