"""How to undo a mistake in params.yaml that `dvc exp run -S` has written to the workspace's file."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.nested import flatten
from darkroom.base.yaml_file import parse_yaml
from darkroom.repository.git import text_in

# From any state of Git's index, whatever was staged.
RESTORE = "git restore --source=HEAD --staged --worktree params.yaml"


@contextmanager
def with_way_back() -> Iterator[None]:
    """Add to a mistake in params.yaml how to undo it, if `dvc exp run` runs this."""
    try:
        yield
    except InputError as error:
        if "DVC_EXP_NAME" not in os.environ:
            raise
        raise InputError(f"{error} ({_way_back(str(error))})") from None


def _way_back(message: str) -> str:
    """Return the command that brings back the committed file, and what it would take away beside the key of a message."""
    if not paths.in_workspace():  # --temp, the queue, a search
        return "the workspace is untouched"
    committed = _keys(text_in(paths.ROOT, "HEAD", paths.PARAMS.name) or "")
    now = _keys(paths.PARAMS.read_text(encoding="utf-8", errors="replace"))
    wrong = message.removeprefix(f"{paths.PARAMS.name}: ").partition(": ")[0]
    others = [key for key in committed | now if committed.get(key) != now.get(key) and not _related(key, wrong)]
    if not others or not committed or not now:
        return f"'{RESTORE}' brings back the committed one"
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"'{RESTORE}' brings back the committed one, also of {others[0]}{more}"


def _related(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _keys(text: str) -> dict[str, Any]:
    """Return the values in the text of a params.yaml by dotted key; none if it cannot be read."""
    try:
        return dict(flatten(parse_yaml(text)))
    except Exception:  # of ruamel, on any text
        return {}
