"""dvc.lock in the layout in which DVC writes it, read line by line: to parse its YAML would take 0.2 seconds each."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from darkroom.versions.yaml_blocks import read_mapping

LINE = re.compile(r"(?P<indent> *)(?P<key>- path|[\w/.-]+):(?: (?P<value>.*))?$")
# Spaces before the parameters of a stage, below the name of their file.
INDENT = 8


@dataclass
class LockedStage:
    """What dvc.lock says of a stage: MD5s by path, and its parameters as YAML."""

    deps: dict[str, str] = field(default_factory=dict)
    outs: dict[str, str] = field(default_factory=dict)
    params: list[str] = field(default_factory=list)

    def read_params(self) -> dict[str, Any]:
        """Return its sections of params.yaml as they were when it ran; empty if they cannot be read."""
        try:
            return read_mapping("\n".join(self.params))
        except ValueError:
            return {}


def parse_lock(text: str) -> dict[str, LockedStage]:
    """Return the stages of a dvc.lock; of a damaged one those lines that have its layout."""
    stages: dict[str, LockedStage] = {}
    stage, kind, path = LockedStage(), "", ""
    for line in text.splitlines():
        if kind == "params" and line.startswith(" " * INDENT):
            stage.params.append(line[INDENT:])
            continue
        match = LINE.match(line)
        if not match:
            continue
        depth, key, value = len(match["indent"]), match["key"], (match["value"] or "").strip("'")
        if depth == 2:
            stage = stages[key] = LockedStage()
            kind = ""
        elif depth == 4 and key != "- path":
            kind = key
        elif key == "- path":
            path = value
        elif key == "md5" and kind in ("deps", "outs"):
            (stage.deps if kind == "deps" else stage.outs)[path] = value
    return stages


def outputs(stages: Mapping[str, LockedStage]) -> dict[str, str]:
    """Return the MD5 of every output of all stages."""
    return {path: md5 for stage in stages.values() for path, md5 in stage.outs.items()}


def broken_chain(stages: Mapping[str, LockedStage]) -> Iterator[tuple[str, str]]:
    """Yield the stages that ran on another version of a file than the stage that makes it made last, and the file."""
    made = outputs(stages)
    for name, stage in stages.items():
        yield from ((name, path) for path, md5 in stage.deps.items() if md5 != made.get(path, md5))
