"""TensorBoard's HPARAMS page: the parameters of a training, whose metrics there are the last values of its scalars.

Lightning's loggers would declare the columns with every run, of which the page shows those of one.
"""

from importlib import import_module
from typing import Any


def start_session(writer: Any, params: dict[str, bool | int | float | str]) -> None:
    """Write the parameters, by dotted name, with a SummaryWriter."""
    _, start, _ = _summaries(writer, params)
    writer._get_file_writer().add_summary(start)


def end_session(writer: Any) -> None:
    """Write that the training has succeeded; the page shows others as running or unknown."""
    _, _, end = _summaries(writer, {})
    writer._get_file_writer().add_summary(end)


def _summaries(writer: Any, params: dict[str, Any]) -> Any:
    # The writer is that of torch or, where tensorboard is not installed, of tensorboardX.
    package = type(writer).__module__.rpartition(".")[0]
    return import_module(f"{package}.summary").hparams(params, {})
