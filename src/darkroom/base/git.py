"""Git, run in a folder."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from darkroom.base.errors import RunError

SECONDS = 30
# To copy the objects of a large repository takes longer.
WRITING_SECONDS = 600
# A Git hook that calls a command has set these, for the repository of the hook.
SET_BY_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


def git(
    root: Path, *arguments: str, env: Mapping[str, str] | None = None, seconds: float = SECONDS
) -> "subprocess.CompletedProcess[str]":
    """Run Git in a folder; it takes no lock that it can do without."""
    kept = {name: value for name, value in os.environ.items() if name not in SET_BY_HOOKS}
    environment = kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | dict(env or {})
    return subprocess.run(["git", *arguments], cwd=root, env=environment, capture_output=True, text=True, timeout=seconds)


def git_output(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run Git in a folder and return what it prints.

    Raises
    ------
    RunError
        With Git's message, if it fails.
    """
    done = git(root, *arguments, env=env, seconds=WRITING_SECONDS)
    if done.returncode:
        message = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise RunError(f"{root}: git {arguments[0]} failed ({message[:200]}); fix it, and run the same command again")
    return done.stdout.strip()
