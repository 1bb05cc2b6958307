"""Loggers beside DVCLive: built from train.loggers, opened before anything is trained, never a reason for a training to fail.

They write outside DVC's outputs. What lets them go on after an interruption is kept in the training's state.
"""

import csv
import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from darkroom.errors import InputError, RunError, described, one_line, warn
from darkroom.instantiate import Builder
from darkroom.nested import flatten
from darkroom.params import Params, Target

KEY = "train.loggers"
# How long a logger that failed is left alone before what it missed is sent to it.
RETRY_SECONDS = 60.0
# MLflow's own patience with a server that does not answer is minutes, in which nothing is trained.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
# Somebody's training is nobody else's business, and the address of a run is where it is expected.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_LOGGING_LEVEL": "ERROR"}
PACKAGES = {"tensorboard": "tensorboard", "tensorboardX": "tensorboard", "mlflow": "mlflow-skinny alembic"}
Values = Mapping[str, float]


class ResilientLogger(Logger):
    """A logger whose failures are told in one line and do not end the training: it gets what it missed when it is back.

    Parameters
    ----------
    target
        As in train.loggers.
    logger
        What was built from it.
    """

    def __init__(self, target: Target, logger: Logger):
        super().__init__()
        self.target, self.logger = target, logger
        self.missed: list[Callable[[], None]] = []
        self.retry_at = 0.0

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self.logger).__name__

    @property
    def version(self) -> None:
        """None; asking the logger could mean asking a server."""

    @property
    def experiment(self) -> Any:
        """What the logger writes with: a SummaryWriter, an MlflowClient, …."""
        return self.logger.experiment  # type: ignore[attr-defined]

    def log_hyperparams(self, params: dict[str, Any], *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Log parameters by name."""
        self._do(lambda: self.logger.log_hyperparams(params))

    def log_metrics(self, metrics: Values, step: int | None = None) -> None:
        """Log one step's values."""
        self._do(lambda: self.logger.log_metrics(dict(metrics), step))

    def log_steps(self, rows: list[tuple[int, Values]]) -> None:
        """Log the values of many steps, with one request where each costs one."""
        if hasattr(self.logger, "run_id"):
            now = int(time.time() * 1000)
            self._do(lambda: self._log_batch(rows, now))
        else:
            for step, values in rows:
                self.log_metrics(values, step)
            self.save()

    def log_histogram(self, name: str, values: Any, step: int) -> bool:
        """Log the distribution of (n,) numbers if the logger has a way to; return whether it has."""
        if not hasattr(self.experiment, "add_histogram"):
            return False
        self._do(lambda: self.experiment.add_histogram(name, values, step))
        return True

    def log_image(self, name: str, image: Any, step: int) -> None:
        """Log an image, (C, H, W) uint8, if the logger has a way to."""
        if hasattr(self.experiment, "add_image"):
            self._do(lambda: self.experiment.add_image(name, image, step))

    def save(self) -> None:
        """Write to the disk what waits in memory."""
        self._do(self.logger.save)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the log; what could not be delivered by now is lost."""
        self.retry_at = 0.0
        self._do(lambda: self.logger.finalize(status))
        if self.missed:
            warn(f"params.yaml: {KEY}: {self.name}: misses the last values; its server did not answer until the end")

    def _do(self, call: Callable[[], None]) -> None:
        self.missed.append(call)
        if time.monotonic() < self.retry_at:
            return
        with _impatient():
            while self.missed:
                try:
                    self.missed[0]()
                except Exception as error:
                    if not self.retry_at:
                        warn(f"params.yaml: {KEY}: {self.name}: fails ({_brief(error)}); training goes on, it is tried again")
                    self.retry_at = time.monotonic() + RETRY_SECONDS
                    return
                del self.missed[0]
        self.retry_at = 0.0

    def _log_batch(self, rows: list[tuple[int, Values]], milliseconds: int) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, milliseconds, step) for step, values in rows for name, value in values.items()]
        self.experiment.log_batch(run_id=self.logger.run_id, metrics=metrics)  # type: ignore[attr-defined]

    def kept(self) -> dict[str, Any]:
        """Return what the logger needs to go on where it is now."""
        logger: Any = self.logger
        if hasattr(logger, "run_id"):
            return {"run_id": logger.run_id}
        content = {}
        if isinstance(logger, CSVLogger):
            logger.save()
            path = Path(logger.log_dir) / ExperimentWriter.NAME_METRICS_FILE
            content = {"csv": path.read_text(encoding="utf-8") if path.exists() else ""}
        return {"version": logger.version, **content}


class KeepLoggers(pl.Callback):
    """Has in the training's state where the loggers write, so that they go on there.

    Parameters
    ----------
    folder
        Where the loggers of this training write, unless they were told where.
    loggers
        The open ones; none in processes that do not log.
    """

    def __init__(self, folder: Path, loggers: list[ResilientLogger]):
        self.folder, self.loggers = folder, loggers

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        """Keep the folder and each logger's place; a state_dict would be asked before the last steps are logged."""
        checkpoint["loggers"] = {_identity(each.target): each.kept() for each in self.loggers}
        checkpoint["logs"] = self.folder.name


def check_loggers(params: Params) -> None:
    """Refuse names that are no loggers.

    Raises
    ------
    InputError
        Naming train.loggers.
    """
    for target in params.train.loggers:
        _builder(params, {}).find(target.target)


def open_loggers(params: Params, folder: Path, kept: Mapping[str, Any]) -> list[ResilientLogger]:
    """Build and open all loggers; a new one is told the parameters, one that is known goes on where it was.

    Parameters
    ----------
    params
        All of params.yaml, which is what is logged as hyperparameters.
    folder
        Where they write.
    kept
        What `KeepLoggers` has put in the state.

    Raises
    ------
    InputError
        If a package is missing or arguments do not fit.
    RunError
        If a server does not answer.
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
        with _impatient():
            experiment = opened.experiment
            if kept is None:
                logger.log_hyperparams(_hyperparameters(params))
            elif hasattr(experiment, "update_run"):
                experiment.update_run(logger.run_id, "RUNNING")
            if kept and kept.get("csv"):
                # Opening it has removed the rows of before.
                rows = csv.DictReader(io.StringIO(kept["csv"]))
                experiment.metrics = [{key: value for key, value in row.items() if value} for row in rows]
            logger.save()
    except ModuleNotFoundError as error:
        raise _missing(target, error) from error
    except Exception as error:
        raise RunError(
            f"params.yaml: {KEY}: {target.target} cannot be opened ({_brief(error)}); "
            "start its server or mend its address, or take it out of the list"
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


def _brief(error: BaseException) -> str:
    return one_line(" ".join(described(error).split()))[:200]


@contextmanager
def _impatient() -> Iterator[None]:
    ours = {name: value for name, value in IMPATIENT.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
