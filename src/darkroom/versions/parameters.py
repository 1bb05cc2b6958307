"""Parameters by dotted key and with today's names: those that differ between revisions, or from those that stages ran with."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from darkroom.base.nested import flatten
from darkroom.base.renamed import with_current_names
from darkroom.versions.lock import LockedStage

Params = dict[str, Any]
"""Values by dotted key."""
Differing = dict[str, tuple[Any, ...]]
"""By dotted key the value in each; `...` where there is none."""


def flat(content: dict[str, Any]) -> Params:
    """Return the parameters of a params.yaml, or of a stage of dvc.lock."""
    return dict(flatten(with_current_names(content))) if content else {}


def params_in(stages: Mapping[str, LockedStage]) -> Params:
    """Return the parameters that stages ran with."""
    return flat({name: value for stage in stages.values() for name, value in stage.read_params().items()})


def outdated(stages: Mapping[str, LockedStage], written: Params) -> Iterator[tuple[str, Differing]]:
    """Yield the stages that ran with other parameters than these, and what differs: first the value of now."""
    for name, stage in stages.items():
        ran = flat(stage.read_params())
        sections = {key.partition(".")[0] for key in ran}
        now = {key: value for key, value in written.items() if key.partition(".")[0] in sections}
        pairs = {key: (now.get(key, ...), ran.get(key, ...)) for key in {**ran, **now}}
        changed: Differing = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
        if changed:
            yield name, changed


def differing(*each: Mapping[str, Any]) -> Differing:
    """Return the parameters that differ, in the order of the last.

    Where one has a value and another a mapping, as an optimizer's, the mapping is one value.
    """
    keys = list(dict.fromkeys(key for params in reversed(each) for key in params))
    tops = {key for key in keys if any(other.startswith(f"{key}.") for other in keys)}

    def top_of(key: str) -> str:
        parts = key.split(".")
        return next((top for top in (".".join(parts[:end]) for end in range(1, len(parts))) if top in tops), key)

    def value_of(params: Mapping[str, Any], key: str) -> Any:
        below = {name.removeprefix(f"{key}."): value for name, value in params.items() if name.startswith(f"{key}.")}
        return params.get(key, below or ...)

    found = {key: tuple(value_of(params, key) for params in each) for key in dict.fromkeys(map(top_of, keys))}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}


def value_text(value: Any) -> str:
    """Return the value of a parameter without loss, as JSON unless it is a text."""
    if value is ...:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
