"""The loggers of train.loggers: built and opened before anything is trained, and continued after an interruption.

They write outside DVC's outputs. Where they write is part of the training's state.
"""

import csv
import inspect
import io
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger

from darkroom.base.errors import InputError, RunError, warn
from darkroom.base.instantiate import Builder
from darkroom.base.nested import flatten
from darkroom.base.params import Params, Target
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.observing import tensorboard
from darkroom.training.observing.resilient_logger import LoggerMethods, ResilientLogger, short_message, short_timeouts

KEY = "train.loggers"
MODEL_FILES = ("model.safetensors", "model.json")
# No usage data is sent, and the address of a run is where it is expected.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
PINNED = "-c requirements-dev.txt"
SACRED = "sacred==0.8.7 'setuptools<82'"  # it imports pkg_resources, which later ones do not have
# What to tell pip if an error names a module.
PACKAGES = {
    "tensorboard": f"{PINNED} tensorboard",
    "mlflow": f"{PINNED} mlflow-skinny alembic",
    "elasticsearch": f"{PINNED} elasticsearch",
    "pymongo": f"{PINNED} pymongo",
    "sacred": SACRED,
    "pkg_resources": SACRED,
}


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

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Log the validation metrics of the best epoch as `best/…`."""
        best = next((each for each in trainer.callbacks if isinstance(each, KeepBest) and each.kept), None)  # type: ignore[attr-defined]
        for logger in self.loggers:
            if best:
                measured = {f"best/{name}": value for name, value in best.measured(best.store.log_dir).items()}
                logger.log_metrics({"best/epoch": best.epoch, **measured}, best.epoch)
            logger.end_session()


def check_loggers(params: Params) -> None:
    """Refuse names that are not loggers, and `log_model` where nothing would be logged.

    Raises
    ------
    InputError
        Naming train.loggers.
    """
    for target in params.train.loggers:
        found = _builder(params, {}).find(target.target)
        takes_files = inspect.isclass(found) and issubclass(found, MLFlowLogger)
        if target.arguments.get("log_model") and not (takes_files and target.arguments["log_model"] is True):
            raise InputError(
                f"params.yaml: {KEY}.log_model: is {json.dumps(target.arguments['log_model'])} for {target.target}; "
                "set it to true for MLFlowLogger, which then gets the published model, or remove it"
            )


def open_loggers(params: Params, folder: Path, kept: Mapping[str, Any]) -> list[ResilientLogger]:
    """Build and open all loggers: new ones get the hyperparameters, the others continue where they were.

    Parameters
    ----------
    params
        The sections base and train are logged as hyperparameters.
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


def log_model(params: Params, store: StateStore, logs: Path, models: Path) -> None:
    """Give the published model to the runs of loggers with `log_model: true`."""
    for target in params.train.loggers:
        state = (store.latest() if target.arguments.get("log_model") else None) or {}
        kept = state.get("loggers", {}).get(_identity(target))
        if kept is None:
            continue
        try:
            with short_timeouts():
                logger = _builder(params, _filled(target, logs / state["logs"], kept)).build(target)
                for name in MODEL_FILES:
                    logger.experiment.log_artifact(logger.run_id, str(models / name), "model")
        except Exception as error:
            warn(f"params.yaml: {KEY}: {target.target} did not get the model ({short_message(error)}); it is in models/")


def _open(target: Target, params: Params, folder: Path, kept: dict[str, Any] | None) -> ResilientLogger:
    builder = _builder(params, _filled(target, folder, kept))
    try:
        opened = ResilientLogger(target, builder.build(target))
    except InputError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise _missing(target, error.__cause__) from error
        raise
    # One that cannot be told where it was begins anew.
    continues = {"run_id", "version"} & set(inspect.signature(builder.find(target.target)).parameters)
    try:
        with short_timeouts():
            _start(opened, _hyperparameters(params), kept if continues else None)
    except ModuleNotFoundError as error:
        raise _missing(target, error) from error
    except Exception as error:
        raise RunError(
            f"params.yaml: {KEY}: {target.target} cannot be opened ({short_message(error)}); "
            "start its server or correct its address, or remove it from the list"
        ) from error
    return opened


def _filled(target: Target, folder: Path, kept: dict[str, Any] | None) -> dict[str, Any]:
    """Return arguments that a logger gets if it takes them and params.yaml does not set them."""
    name = target.target.rpartition(".")[2].removesuffix("Logger").lower()
    return {
        "save_dir": str(folder),
        "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.parent / 'mlflow.db'}",
        "experiment_name": "darkroom",
        "run_name": folder.name,
        "default_hp_metric": False,
        **({"name": name} if name in ("tensorboard", "csv") else {}),
        **(kept or {}),
    }


def _start(opened: ResilientLogger, params: dict[str, Any], kept: dict[str, Any] | None) -> None:
    """Begin a run with its parameters, or continue the one that was kept."""
    logger, experiment = opened.logger, opened.experiment
    if kept is None:
        logger.log_hyperparams(params)
        if isinstance(logger, TensorBoardLogger):
            tensorboard.start_session(experiment, params)
    elif hasattr(experiment, "update_run"):
        experiment.update_run(logger.run_id, "RUNNING")
    if kept and kept.get("csv"):
        # Opening it has removed the earlier rows.
        rows = csv.DictReader(io.StringIO(kept["csv"]))
        experiment.metrics = [{key: value for key, value in row.items() if value} for row in rows]
    if hasattr(logger, "save"):
        logger.save()


class _LoggerBuilder(Builder):
    def _wanted(self) -> str:
        return f"name a class with log_hyperparams and log_metrics that is defined in {', '.join(self._places())}"


def _builder(params: Params, filled: Mapping[str, Any]) -> Builder:
    return _LoggerBuilder(KEY, (LoggerMethods,), params.base.allow_targets, filled)


def _missing(target: Target, error: ModuleNotFoundError) -> InputError:
    arguments = next((PACKAGES[name] for name in PACKAGES if name in str(error)), error.name or "what it needs")
    return InputError(f"params.yaml: {KEY}: {target.target} needs a package that is not installed; run: pip install {arguments}")


def _identity(target: Target) -> str:
    return json.dumps(target.model_dump(by_alias=True), sort_keys=True)


def _hyperparameters(params: Params) -> dict[str, bool | int | float | str]:
    """Return base and train by dotted names, without the loggers, whose addresses may hold a password."""
    values = flatten(params.model_dump(by_alias=True, include={"base": True, "train": True}, exclude={"train": {"loggers"}}))
    return {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in values}
