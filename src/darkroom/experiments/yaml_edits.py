"""Edits of params.yaml and dvc.lock that keep comments, order and quotes."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from darkroom.base import files


def only_stages(lock: str, stages: tuple[str, ...]) -> str:
    """Return the content of a dvc.lock with only these stages."""
    yaml = YAML()
    content = yaml.load(lock)
    for name in [name for name in content["stages"] if name not in stages]:
        del content["stages"][name]
    return dumped(yaml, content)


def write_params(path: Path, content: Mapping[str, Any]) -> None:
    """Replace the parameters in a params.yaml and keep its comments."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(type(None), _represent_null)
    old = yaml.load(path.read_text(encoding="utf-8"))
    _overwrite(old, content)
    files.write_text(path, dumped(yaml, old))


def _represent_null(representer: Any, _: None) -> Any:
    """Write `null`, which ruamel would leave empty."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _overwrite(old: Any, new: Mapping[str, Any]) -> None:
    for key in [key for key in old if key not in new]:
        del old[key]
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(old.get(key), Mapping):
            _overwrite(old[key], value)
        elif key not in old or old[key] != value or isinstance(old[key], bool) != isinstance(value, bool):
            old[key] = value


def dumped(yaml: YAML, content: Any) -> str:
    """Return YAML as text."""
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()
