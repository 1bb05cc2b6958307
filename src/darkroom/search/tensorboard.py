"""Trials in TensorBoard's view of parameters, written without torch."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from darkroom.errors import InputError
from darkroom.experiments.text import experiment_name
from darkroom.search.search import SearchResult

NEEDED = "tensorboard"


def check_tensorboard() -> None:
    """Refuse to begin what could not be written in the end."""
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(f"--tensorboard: the package is missing; run 'pip install -c requirements-dev.txt {NEEDED}'") from None


def write_hparams(found: SearchResult, metrics: Sequence[str], folder: Path) -> None:
    """Write the finished trials of a search, each to a folder of its own, in place of what stands there."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    def noted(tag: str, **info: Any) -> Any:
        content = HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **info)
        about = {"plugin_data": {"plugin_name": metadata.PLUGIN_NAME, "content": content.SerializeToString()}}
        return Summary(value=[{"tag": tag, "metadata": about}])

    shutil.rmtree(folder, ignore_errors=True)
    for trial in found.trials.counted():
        if trial.state == TrialState.COMPLETE:
            begun, ended = SessionStartInfo(), SessionEndInfo(status=STATUS_SUCCESS)
            for key, value in trial.params.items():
                kind = {bool: "bool_value", int: "number_value", float: "number_value"}.get(type(value), "string_value")
                setattr(begun.hparams[key], kind, value if kind != "string_value" else str(value))
            values = [{"tag": metric, "simple_value": value} for metric, value in zip(metrics, trial.values, strict=True)]
            writer = EventFileWriter(str(folder / experiment_name(found.study.study_name, trial.number)))
            writer.add_event(Event(summary=noted(metadata.SESSION_START_INFO_TAG, session_start_info=begun)))
            writer.add_event(Event(summary=Summary(value=values)))
            writer.add_event(Event(summary=noted(metadata.SESSION_END_INFO_TAG, session_end_info=ended)))
            writer.close()
