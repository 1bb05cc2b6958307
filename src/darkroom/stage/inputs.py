"""The parameters and dependencies of a stage, as dvc.yaml lists them, with hashes to see whether one changed."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.nested import flatten, named, outputs_of, read_stages
from darkroom.base.params import Params
from darkroom.base.yaml_file import read_yaml
from darkroom.stage import observed

Inputs = dict[str, str]
"""Values of parameters by `params.yaml: train.lr`, hashes of files by `src/train.py`."""


def read_inputs(name: str) -> Inputs:
    """Return the parameters and dependencies of a stage, as dvc.yaml lists them, with the hash of each.

    What people write is hashed by content, data by size and time of modification, as DVC does. A remote folder (s3://…) is
    checked by the stage that reads it (darkroom.sources.remote).
    """
    inputs = {f"params.yaml: {key}": _as_text(value) for key, value in stage_params(name)}
    data = {place for stage in _stages().values() for place in outputs(stage)}
    with observed.paused():
        for written, place in dependencies(name):
            hashed = _signature if written.startswith("${") or place in data else _content_hash
            for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
                if file.is_file() and not paths.is_left_behind(file.relative_to(place)):
                    inputs[paths.shown(file)] = hashed(file)
    return inputs


def stage_params(name: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys and values of the sections of params.yaml that a stage depends on.

    Raises
    ------
    InputError
        If dvc.yaml lists what is no section: a key, or another file. Records have whole sections of params.yaml.
    """
    params = _params()
    for section in named(_stage(name).get("params", [])):
        if section not in Params.model_fields:
            raise InputError(
                f"dvc.yaml: stages.{name}.params: {section} is no section of params.yaml, so it would not be recorded; "
                "list whole sections, such as train, and other files in deps"
            )
        yield from flatten(params.get(section), section)


def dependencies(name: str) -> Iterator[tuple[str, Path]]:
    """Yield the dependencies of a stage that are files and folders, and there: as dvc.yaml writes them, and their paths."""
    params = _params()
    for written in map(str, _stage(name).get("deps", [])):
        filled = fill_in(written, params)
        # os.path.exists, since it accepts what is not a path at all, such as one that is too long.
        if "://" not in filled and os.path.exists(paths.ROOT / filled):  # noqa: PTH110
            yield written, paths.ROOT / filled


def outputs(stage: dict[str, Any]) -> list[Path]:
    """Return the paths of a stage's outputs; one with options is written as a mapping."""
    return [paths.ROOT / out for out in outputs_of(stage)]


def stage_outputs(name: str) -> list[Path]:
    """Return the paths of the outputs of a stage."""
    return outputs(_stage(name))


def _stage(name: str) -> dict[str, Any]:
    stage: dict[str, Any] | None = _stages().get(name)
    if stage is None:
        raise InputError(f"dvc.yaml: has no stage {name}; restore it with 'git checkout HEAD -- dvc.yaml'")
    return stage


def _stages() -> dict[str, Any]:
    return read_stages(paths.PIPELINE)


def _params() -> dict[str, Any]:
    content = read_yaml(paths.PARAMS)
    return content if isinstance(content, dict) else {}  # load_params reports what is wrong


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


def _content_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _signature(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns}"
