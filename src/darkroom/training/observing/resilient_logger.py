"""A logger whose failures are reported in one line and do not end the training; what it missed is sent later.

What is called a logger here has the methods of Lightning's loggers, and need not be a subclass of them.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from darkroom.base.errors import described, one_line, warn
from darkroom.base.params import Target
from darkroom.training.observing import tensorboard

KEY = "params.yaml: train.loggers"
# Time between two attempts to send what a failing logger missed.
RETRY_SECONDS = 60.0
# By default MLflow waits minutes for a server that does not respond, in which nothing is trained.
SHORT_TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
Values = Mapping[str, float]


@runtime_checkable
class LoggerMethods(Protocol):
    """What every logger has; `save`, `finalize` and `experiment` are used where it has them."""

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        """Log parameters by dotted name, once at the start."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log the values of one step."""


class ResilientLogger(Logger):
    """A logger whose failures do not end the training: calls that failed are repeated, in order, until they succeed.

    Parameters
    ----------
    target
        As in train.loggers.
    logger
        The logger that was built from it.
    """

    def __init__(self, target: Target, logger: LoggerMethods):
        super().__init__()
        self.target = target
        self.logger: Any = logger
        self.missed: list[Callable[[], None]] = []
        self.retry_at = 0.0

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self.logger).__name__

    @property
    def version(self) -> None:
        """None; the logger might have to ask a server for it."""

    @property
    def experiment(self) -> Any:
        """The object that writes: a SummaryWriter, an MlflowClient, …; None if the logger has none."""
        return getattr(self.logger, "experiment", None)

    def log_hyperparams(self, params: dict[str, Any], *_: Any, **__: Any) -> None:  # type: ignore[override]
        """Log hyperparameters by name."""
        self._do(lambda: self.logger.log_hyperparams(params))

    def log_metrics(self, metrics: Values, step: int | None = None) -> None:
        """Log the values of one step."""
        self._do(lambda: self.logger.log_metrics(dict(metrics), step))

    def log_steps(self, rows: list[tuple[int, Values]]) -> None:
        """Log the values of many steps, in one request where the logger sends requests."""
        if hasattr(self.experiment, "log_batch"):
            now = int(time.time() * 1000)
            self._do(lambda: self._log_batch(rows, now))
        else:
            for step, values in rows:
                self.log_metrics(values, step)
            self.save()

    def log_histogram(self, name: str, values: Any, step: int) -> bool:
        """Log the distribution of (n,) numbers, and return whether the logger supports it."""
        if not hasattr(self.experiment, "add_histogram"):
            return False
        self._do(lambda: self.experiment.add_histogram(name, values, step))
        return True

    def log_image(self, name: str, image: Any, step: int) -> None:
        """Log an image, (C, H, W) uint8, if the logger supports it."""
        if hasattr(self.experiment, "add_image"):
            self._do(lambda: self.experiment.add_image(name, image, step))

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file, below a folder of the run, if the logger keeps files, as MLflow does."""
        if hasattr(self.experiment, "log_artifact"):
            self._do(lambda: self.experiment.log_artifact(self.logger.run_id, str(path), folder))

    def end_session(self) -> None:
        """Note that the training has succeeded, where TensorBoard lists it."""
        if isinstance(self.logger, TensorBoardLogger):
            self._do(lambda: tensorboard.end_session(self.experiment))

    def save(self) -> None:
        """Write buffered values to the disk."""
        if hasattr(self.logger, "save"):
            self._do(self.logger.save)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the log; values that could not be sent by now are lost."""
        self.retry_at = 0.0
        self.save()  # what was logged after Lightning's last save, as the machine's last measurement is
        if hasattr(self.logger, "finalize"):
            self._do(lambda: self.logger.finalize(status))
        if self.missed:
            warn(f"{KEY}: {self.name}: the last values are missing; its server did not respond until the end")

    def _do(self, call: Callable[[], None]) -> None:
        self.missed.append(call)
        if time.monotonic() < self.retry_at:
            return
        with short_timeouts():
            while self.missed:
                try:
                    self.missed[0]()
                except Exception as error:
                    if not self.retry_at:
                        warn(f"{KEY}: {self.name}: fails ({short_message(error)}); training continues, and it is tried again")
                    self.retry_at = time.monotonic() + RETRY_SECONDS
                    return
                del self.missed[0]
        self.retry_at = 0.0

    def _log_batch(self, rows: list[tuple[int, Values]], milliseconds: int) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, milliseconds, step) for step, values in rows for name, value in values.items()]
        self.experiment.log_batch(run_id=self.logger.run_id, metrics=metrics)

    def resume_arguments(self) -> dict[str, Any]:
        """Return what the logger needs to continue here after an interruption."""
        logger = self.logger
        if hasattr(logger, "run_id"):
            return {"run_id": _plain(logger.run_id)}
        content = {}
        if isinstance(logger, CSVLogger):
            logger.save()
            path = Path(logger.log_dir) / ExperimentWriter.NAME_METRICS_FILE
            content = {"csv": path.read_text(encoding="utf-8") if path.exists() else ""}
        return {"version": _plain(getattr(logger, "version", None)), **content}


def _plain(name: Any) -> int | str | None:
    """Return the name of a run as what a state can hold."""
    return name if name is None or isinstance(name, int | str) else str(name)


def short_message(error: BaseException) -> str:
    """Return the text of an error on one line of at most 200 characters."""
    return one_line(" ".join(described(error).split()))[:200]


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Let MLflow give up soon within the block, unless the user has set its timeouts."""
    ours = {name: value for name, value in SHORT_TIMEOUTS.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
