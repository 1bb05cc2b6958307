"""Trainings as runs of sacred (https://github.com/IDSIA/sacred): in a folder, an SQL database, or MongoDB for Omniboard."""

from datetime import UTC, datetime
from importlib import import_module
from os import environ
from platform import machine, node, python_version, release, system


class SacredLogger:
    """Calls the observer of `mongo` (its arguments; `url` is $SACRED_MONGO if not among them), `sql` (a URL) or `folder`."""

    def __init__(self, save_dir: str, folder: str | None = None, sql: str | None = None, mongo: dict[str, object] | None = None):
        observers, self.metrics = import_module("sacred.observers"), import_module("sacred.metrics_logger")
        self.values, self.info, self.result, self.nest = [], {}, "", import_module("sacred.utils").convert_to_nested_dict
        files = observers.SqlObserver(sql) if sql else observers.FileStorageObserver(folder or f"{save_dir}/sacred")
        self.observer = files if mongo is None else observers.MongoObserver(**{"url": environ.get("SACRED_MONGO"), **mongo})

    def log_hyperparams(self, params: dict[str, object]) -> None:
        """Start the run, whose result is the monitored metric of the best epoch."""
        self.result = params["train.monitor"].replace("val/", "best/")
        host = {"hostname": node(), "os": [system(), release()], "cpu": machine(), "python_version": python_version()}
        about = {"name": "darkroom", "base_dir": "", "sources": [], "repositories": [], "dependencies": [], "mainfile": None}
        self.observer.started_event(about, "train", host, datetime.now(UTC), self.nest(params), {}, None)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep the values of a step; an SQL database gets the last ones, as info."""
        self.values += [self.metrics.ScalarMetricLogEntry(name, step, datetime.now(UTC), metrics[name]) for name in metrics]
        self.info |= metrics

    def save(self) -> None:
        """Send what was kept."""
        self.observer.log_metrics(self.metrics.linearize_metrics(self.values), self.info)
        self.values = []
        self.observer.heartbeat_event(self.info, "", datetime.now(UTC), self.info.get(self.result))

    def finalize(self, status: str) -> None:
        """End the run."""
        self.save()
        end = self.observer.completed_event if status == "success" else self.observer.interrupted_event
        end(datetime.now(UTC), self.info.get(self.result) if status == "success" else status.upper())
