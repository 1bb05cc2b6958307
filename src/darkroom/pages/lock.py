"""What dvc.lock says of a revision: the stages that ran, their parameters, the hashes of what they wrote."""

from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from darkroom.base.nested import flatten
from darkroom.pages.damage import reading
from darkroom.versions.revisions import LOCK, Revision


def mapping_in(content: bytes) -> dict[str, Any]:
    """Return the mapping in the text of a YAML file."""
    found = YAML(typ="safe", pure=True).load(content.decode("utf-8"))
    if not isinstance(found, dict):
        raise TypeError("it is not a mapping")
    return found


def stages_in(content: bytes, revision: Revision) -> dict[str, Any]:
    """Return the stages in the text of a dvc.lock."""
    with reading(LOCK, revision):
        stages = mapping_in(content).get("stages", {})
        found = {str(name): stage for name, stage in stages.items()}
        for stage in found.values():  # whatever is looked up in them later
            dict(stage.get("params", {}).get("params.yaml", {}))
            [each["path"] for kind in ("deps", "outs") for each in stage.get(kind, [])]
        return found


def outs_in(stages: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the outputs of stages, with their hashes."""
    return [out for stage in stages.values() for out in stage.get("outs", [])]


def sections_in(stages: Mapping[str, Any]) -> list[str]:
    """Return the sections of params.yaml that stages ran with."""
    found = [name for stage in stages.values() for name in stage.get("params", {}).get("params.yaml", {})]
    return list(dict.fromkeys(found))


def params_in(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that stages ran with, by dotted key."""
    sections = {
        name: value for stage in stages.values() for name, value in stage.get("params", {}).get("params.yaml", {}).items()
    }
    return dict(flatten(sections)) if sections else {}


def differing(*each: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return the parameters that differ, by dotted key, with the value in each; `...` where there is none.

    Where one has a value and another a mapping, as an optimizer's, the mapping is one value.
    """
    keys = {key for params in each for key in params}
    tops = {key for key in keys if any(other.startswith(f"{key}.") for other in keys)}

    def top_of(key: str) -> str:
        parts = key.split(".")
        return next((top for top in (".".join(parts[:end]) for end in range(1, len(parts))) if top in tops), key)

    def value_of(params: Mapping[str, Any], key: str) -> Any:
        below = {name.removeprefix(f"{key}."): value for name, value in params.items() if name.startswith(f"{key}.")}
        return params.get(key, below or ...)

    found = {key: tuple(value_of(params, key) for params in each) for key in sorted(map(top_of, keys))}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}
