"""Files and folders that params.yaml names: whether they exist, and whether DVC can build its graph with them.

DVC fills `${download.folder}` of dvc.yaml in before any stage runs. Of an output it says `Same item(s) are defined as both a
dependency and an output`; of what does not exist `[Errno 2]`, after it has removed what the stage made before.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.base import paths
from darkroom.base.errors import InputError, nearest_path
from darkroom.base.nested import named, outputs_of
from darkroom.base.params import Params

FILLED_IN = re.compile(r"\$\{([\w.]+)\}")
# Dependencies that are files; the others are folders.
FILES = ("download.corrections",)
Stages = Mapping[str, Mapping[str, Any]]


def check_dependencies(stages: Stages, content: Any, root: Path) -> None:
    """Refuse a dependency that params.yaml names and DVC does not accept.

    Parameters
    ----------
    stages
        Those of dvc.yaml.
    content
        What params.yaml holds.
    root
        The repository.

    Raises
    ------
    InputError
        Naming the key and what to write there.
    """
    for name, key in _named(stages):
        value = content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str) and "://" not in value:
            wrong = _fault(stages, name, value, root, "file" if key in FILES else "folder")
            if wrong:
                raise InputError(f"params.yaml: {key}: {wrong}")


def check_files(params: Params) -> None:
    """Refuse a file that params.yaml names and that does not exist.

    Raises
    ------
    InputError
        Naming the key and the nearest file.
    """
    download, train = params.download, params.train
    archives = {"download.archive": download.archive} if download.source == "archive" else {}
    for key, value in {**archives, "train.model.weights": train.model.weights}.items():
        if isinstance(value, str) and "://" not in value and not os.path.isfile(_place(value)):  # noqa: PTH113 - as below
            raise InputError(
                f"params.yaml: {key}: {_shown(value)} is no file; {nearest_path(value, 'correct the path', paths.ROOT)}"
            )
    place = Path(os.path.normpath(_place(params.predict.input)))
    for made in (paths.RAW, paths.MODELS):
        if place.is_relative_to(made):
            advice = "write data/split for the test split, or name a folder of images"
            raise InputError(f"params.yaml: predict.input: {paths.shown(place)} holds what a stage wrote, not images; {advice}")


def _named(stages: Stages) -> Iterator[tuple[str, str]]:
    """Yield the stage and the key of each dependency that params.yaml names."""
    for name, stage in stages.items():
        for dependency in stage.get("deps", []):
            if isinstance(dependency, str) and (match := FILLED_IN.fullmatch(dependency)):
                yield name, match[1]


def _fault(stages: Stages, name: str, value: str, root: Path, kind: str) -> str | None:
    """Return what is wrong with a dependency of a stage, a file or a folder, and what to do."""
    if not value.strip():
        return f"is empty; name a {kind}"
    if any(ord(character) < ord(" ") for character in value):
        return f"{value!a} holds a control character; name another {kind}"
    if value.startswith("~"):
        return f"{value}: DVC does not know ~; write {Path(value).expanduser() if value[1:2] in ('', '/') else 'the whole path'}"
    place = Path(os.path.normpath(root / value))  # as DVC does: links are not followed
    for later in [name, *_after(stages, name)]:
        for out in outputs_of(stages[later]):
            if _overlap(place, root / out):
                return f"{value} {_relation(place, root / out)} {out}, which the stage {later} writes; name another {kind}"
    # os.path.exists, since it accepts what is not a path at all, such as one that is too long.
    if os.path.exists(place) or any(_overlap(place, root / out) for stage in stages.values() for out in outputs_of(stage)):  # noqa: PTH110
        return None
    if not paths.in_workspace() and os.path.exists(paths.main_repository() / value):  # noqa: PTH110
        return f"{_shown(value)} is not in the folder of this run, which has only files that Git tracks; use an absolute path"
    return f"{_shown(value)} does not exist; {nearest_path(value, f'correct it, or create the {kind}', root)}"


def _after(stages: Stages, name: str) -> list[str]:
    """Return the stages that depend on a stage, also through others."""
    found: list[str] = []
    waiting = [name]
    while waiting:
        made = outputs_of(stages[waiting.pop()])
        for other, stage in stages.items():
            if other not in (name, *found) and any(
                _overlap(Path(dep), Path(out)) for dep in named(stage.get("deps", [])) for out in made
            ):
                found.append(other)
                waiting.append(other)
    return found


def _overlap(one: Path, other: Path) -> bool:
    return one == other or one.is_relative_to(other) or other.is_relative_to(one)


def _relation(place: Path, out: Path) -> str:
    return "is" if place == out else "is in" if place.is_relative_to(out) else "contains"


def _place(value: str) -> Path:
    return paths.ROOT / os.path.expanduser(value)  # noqa: PTH111 - accepts the name of an unknown user


def _shown(value: str) -> str:
    return value if len(value) <= 200 else f"{value[:200]}…"
