"""The log of a training as tensors in its state, and back as files; and a state without the places of further logs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_files(directory: Path) -> dict[str, Tensor]:
    """Return the files below a folder by relative path, as (bytes,) uint8, which torch can load without running code."""
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): torch.from_numpy(np.fromfile(path, np.uint8)) for path in found}


def write_files(directory: Path, content: dict[str, Tensor]) -> None:
    """Write files that `read_files` returned."""
    for name, values in content.items():
        path = directory / name
        if not path.resolve().is_relative_to(directory.resolve()):
            raise ValueError(f"{name}: is outside of the folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(values.numpy().data)


def without_places(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state without what `KeepLoggers` adds: where this training is logged, and not one that goes on with it."""
    return {key: value for key, value in state.items() if key not in ("logs", "loggers")}
