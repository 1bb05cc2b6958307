"""Trials for TensorBoard's HParams tab, written without torch."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from darkroom.base.errors import InputError
from darkroom.experiments.text import experiment_name
from darkroom.search.search import SearchResult

NEEDED = "tensorboard"


def check_tensorboard() -> None:
    """Raise InputError if TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(
            f"--tensorboard: the package is not installed; run 'pip install -c requirements-dev.txt {NEEDED}'"
        ) from None


def write_hparams(found: SearchResult, metrics: Sequence[str], folder: Path) -> None:
    """Write the finished trials of a search, each to its own folder; earlier content of `folder` is removed."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    def summary(tag: str, **info: Any) -> Any:
        content = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **info)
        about = {"plugin_data": {"plugin_name": metadata.PLUGIN_NAME, "content": content.SerializeToString()}}
        return Summary(value=[{"tag": tag, "metadata": about}])

    shutil.rmtree(folder, ignore_errors=True)
    for trial in found.trials.counted():
        if trial.state == TrialState.COMPLETE:
            start, end = SessionStartInfo(), SessionEndInfo(status=STATUS_SUCCESS)
            for key, value in trial.params.items():
                kind = {bool: "bool_value", int: "number_value", float: "number_value"}.get(type(value), "string_value")
                setattr(start.hparams[key], kind, value if kind != "string_value" else str(value))
            values = [{"tag": metric, "simple_value": value} for metric, value in zip(metrics, trial.values, strict=True)]
            writer = EventFileWriter(str(folder / experiment_name(found.study.study_name, trial.number)))
            writer.add_event(Event(summary=summary(metadata.SESSION_START_INFO_TAG, session_start_info=start)))
            writer.add_event(Event(summary=Summary(value=values)))
            writer.add_event(Event(summary=summary(metadata.SESSION_END_INFO_TAG, session_end_info=end)))
            writer.close()
