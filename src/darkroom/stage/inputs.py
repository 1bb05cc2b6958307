"""The parameters and dependencies of a stage, as dvc.yaml lists them, with hashes to see whether one changed."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from darkroom.base import paths
from darkroom.base.nested import flatten
from darkroom.base.params_file import read_yaml

Inputs = dict[str, str]
"""Values of parameters by `params.yaml: train.lr`, hashes of files by `src/train.py`."""


def read_inputs(name: str) -> Inputs:
    """Return the parameters and dependencies of a stage, as dvc.yaml lists them, with the hash of each.

    Code is hashed by content, data by size and time of modification, as DVC does. A remote folder (s3://…) is checked by the
    stage that reads it (darkroom.sources.remote).
    """
    stage = read_yaml(paths.PIPELINE)["stages"][name]
    content = read_yaml(paths.PARAMS)
    params = content if isinstance(content, dict) else {}  # load_params reports what is wrong
    inputs = {
        f"params.yaml: {key}": _as_text(value)
        for section in stage.get("params", [])
        for key, value in flatten(params.get(section), section)
    }
    for dependency in stage["deps"]:
        filled = fill_in(dependency, params)
        path = paths.ROOT / filled
        # os.path.exists, since it accepts what is not a path at all, such as one that is too long.
        if "://" in filled or not os.path.exists(path):  # noqa: PTH110
            continue
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not paths.is_left_behind(file.relative_to(path)):
                inputs[paths.shown(file)] = _code_hash(file) if path.is_relative_to(paths.ROOT / "src") else _signature(file)
    return inputs


def fill_in(text: str, params: Any) -> str:
    """Return a dependency such as `${download.folder}` with the value of the parameter, as DVC fills it in."""
    if not text.startswith("${"):
        return text
    for key in text[2:-1].split("."):
        params = params.get(key) if isinstance(params, dict) else None
    return str(params) if "://" in str(params) else str(Path(str(params)))


def _as_text(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except (TypeError, ValueError):  # not a valid parameter, which load_params reports
        return "unreadable"


def _code_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _signature(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns}"
