"""The registry of models, asked of gto and DVC: which commit is `classifier@v1.0.0`, or has the stage of `classifier@prod`.

gto keeps it in tags of Git. It alone is asked: `dvc artifacts get` still finds a stage that was taken away (`gto unassign`).
Both are imported when they are asked: that takes a second.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.base.errors import InputError, described, listed, nearest
from darkroom.repository.dvc import open_commit
from darkroom.repository.git import commit_of, prefix_of

# As gto writes them, and with @ before a stage, which is no comment for a shell.
REGISTERED = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9/_-]*[A-Za-z0-9])?)[@#](?P<what>[A-Za-z0-9][\w.+-]*)")


class Registered(NamedTuple):
    """A version of a model in the registry."""

    version: str
    """Such as v1.0.0."""
    commit: str
    path: str
    """Its folder in that commit, from the root of the project."""


def find_registered(root: Path, name: str) -> Registered | None:
    """Return what `NAME@v1.0.0`, `NAME@latest` or `NAME@stage` is in the registry; None if it is another name of a commit.

    Raises
    ------
    InputError
        If it looks like one of these, and there is none.
    """
    match = REGISTERED.fullmatch(name)
    if not match:
        return None
    # gto and DVC put the folder of a dvc.yaml before its names.
    folder = prefix_of(root).rstrip("/")
    full, what = f"{folder}:{match['name']}" if folder else match["name"], match["what"]
    known = _models(root)
    if full not in known:
        if commit_of(root, name):
            return None
        shown = [each.removeprefix(f"{folder}:") for each in known]
        raise InputError(f"{name}: {_unknown(match['name'], what, shown)}")
    versions = _versions(root, full)
    found = versions if what == "latest" else [each for each in versions if what in (each["version"], *_stages(each))]
    if not found:
        there = [*(each["version"] for each in versions), *known[full]]
        hint = nearest(what, there, f"it has {listed(there)}", f"'{match['name']}@{{}}'")
        raise InputError(f"{name}: {match['name']} has neither a version nor a stage of this name; {hint}")
    version, commit = found[0]["version"], found[0]["commit_hexsha"]
    return Registered(version, commit, _path(root, commit, match["name"], f"{match['name']}@{version}"))


def _unknown(name: str, what: str, known: list[str]) -> str:
    register = f"'gto register {name}' registers one, 'git fetch --tags' brings those of others"
    if not known:
        return f"no model is registered here; {register}"
    hint = nearest(name, known, register, "'{}@" + what + "'")
    return f"no model is registered as {name}; {hint}"


def _models(root: Path) -> dict[str, list[str]]:
    """Return the stages that each registered model has."""
    import gto.api

    shown: dict[str, Any] = _asked(lambda: gto.api.show(str(root)))
    return {
        name: [stage for stage, version in about["stage"].items() if version]
        for name, about in shown.items()
        if about["registered"]
    }


def _versions(root: Path, name: str) -> list[dict[str, Any]]:
    """Return the registered versions of a model, the newest first."""
    import gto.api

    found: list[dict[str, Any]] = _asked(lambda: gto.api.show(str(root), name, registered_only=True))
    return found


def _stages(version: Mapping[str, Any]) -> list[str]:
    return [each["stage"] for each in version["stages"]]


def _asked(ask: Callable[[], Any]) -> Any:
    from gto.exceptions import GTOException

    try:
        return ask()
    except GTOException as error:
        raise InputError(f"gto: cannot read the registry ({described(error)}); 'gto show' tells more") from None


def _path(root: Path, commit: str, name: str, shown: str) -> str:
    """Return the folder of a model by dvc.yaml of a commit."""
    try:
        declared: dict[str, Any] = open_commit(root, commit).repo.artifacts.read()
    except Exception as error:  # of any kind, depending on the committed files
        raise InputError(f"{shown}: DVC cannot read its commit ({described(error)}); name another version") from error
    found = declared.get("dvc.yaml", {}).get(name)
    if found is None or not found.path:
        raise InputError(f"{shown}: dvc.yaml of {commit[:7]} has no artifact {name}; name a commit in place of it")
    return str(found.path).rstrip("/")
