"""Trials in TensorBoard's view of parameters, written without torch."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import TrialState

from darkroom.errors import InputError
from darkroom.search.search import Found
from darkroom.search.wording import experiment_name

NEEDED = "tensorboard"


def check_tensorboard() -> None:
    """Refuse to begin what could not be written in the end."""
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError:
        raise InputError(f"--tensorboard: the package is missing; run 'pip install -c requirements-dev.txt {NEEDED}'") from None


def write_hparams(found: Found, metrics: Sequence[str], folder: Path) -> None:
    """Write the finished trials of a search, each to a folder of its own, in place of what stands there."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.summary import session_end_pb, session_start_pb
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    shutil.rmtree(folder, ignore_errors=True)
    for trial in found.trials.counted():
        if trial.state == TrialState.COMPLETE:
            writer = EventFileWriter(str(folder / experiment_name(found.study.study_name, trial.number)))
            values = [Summary.Value(tag=metric, simple_value=value) for metric, value in zip(metrics, trial.values, strict=True)]
            params = {key: value if value is not None else "null" for key, value in trial.params.items()}
            for summary in (session_start_pb(params), Summary(value=values), session_end_pb(api_pb2.STATUS_SUCCESS)):
                writer.add_event(Event(summary=summary))
            writer.close()
