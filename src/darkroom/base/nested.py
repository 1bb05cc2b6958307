"""Nested mappings: params.yaml as a flat one with dotted keys, the stages of dvc.yaml."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError

# Where dvc.yaml lists what a stage writes.
OUTPUTS = ("outs", "metrics")


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every leaf, in order; an empty mapping and a list are leaves.

    Parameters
    ----------
    value
        A mapping of mappings, or a leaf.
    key
        Key of `value` itself, which the yielded keys begin with.
    """
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from flatten(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def read_stages(path: Path) -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml: each a mapping whose `deps` and `outs` are lists, as this project writes them.

    Of a stage with `foreach` there is one for each item of the list in params.yaml, named as DVC names them: `export@onnx`.

    Raises
    ------
    InputError
        If it is another file, or damaged.
    """
    from darkroom.base.yaml_file import read_yaml  # here, since doctor runs without the packages that it needs

    content = read_yaml(path)
    stages = content.get("stages") if isinstance(content, dict) else None
    if isinstance(stages, dict) and any(isinstance(stage, dict) and "foreach" in stage for stage in stages.values()):
        stages = dict(_each(stages, read_yaml(path.with_name("params.yaml"))))
    if not isinstance(stages, dict) or not stages or not all(map(_is_stage, stages.values())):
        raise InputError(f"{path.name}: is not a pipeline of this project; restore it with 'git checkout HEAD -- {path.name}'")
    return stages


def named(items: Iterable[Any]) -> list[str]:
    """Return the names in a list of dvc.yaml; an item with options is a mapping of its name to them."""
    return [next(iter(item)) if isinstance(item, dict) else item for item in items]


def outputs_of(stage: Mapping[str, Any]) -> list[str]:
    """Return the paths that a stage of dvc.yaml writes: its outs, and its metrics, which are in Git."""
    return [path for kind in OUTPUTS for path in named(stage.get(kind, []))]


def _each(stages: Mapping[str, Any], params: Any) -> Iterator[tuple[str, Any]]:
    """Yield the stages of dvc.yaml with those that `foreach` stands for."""
    for name, stage in stages.items():
        if not isinstance(stage, dict) or "foreach" not in stage:
            yield name, stage
            continue
        items = params
        for key in str(stage["foreach"])[2:-1].split("."):
            items = items.get(key) if isinstance(items, dict) else None
        for item in items if isinstance(items, list) else []:
            yield f"{name}@{item}", _filled(stage.get("do"), str(item))


def _filled(value: Any, item: str) -> Any:
    """Return a part of a stage with `${item}` filled in."""
    if isinstance(value, dict):
        return {_filled(key, item): _filled(each, item) for key, each in value.items()}
    if isinstance(value, list):
        return [_filled(each, item) for each in value]
    return value.replace("${item}", item) if isinstance(value, str) else value


def _is_stage(stage: Any) -> bool:
    lists = [stage.get(kind, []) for kind in ("deps", *OUTPUTS, "params")] if isinstance(stage, dict) else [None]
    # An output may be a mapping of its path to its options, and so may the parameters of another file.
    return all(isinstance(items, list) and all(isinstance(item, str) or _is_named(item) for item in items) for items in lists)


def _is_named(item: Any) -> bool:
    return isinstance(item, dict) and len(item) == 1 and all(isinstance(name, str) for name in item)
