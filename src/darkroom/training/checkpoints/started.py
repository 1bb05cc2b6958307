"""How a training was started: the command that a person typed, and where, by which an interrupted one is found again."""

import shlex
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from darkroom.base import paths
from darkroom.repository.git import git

# What people type; DVC and the commands start the stages.
COMMANDS = ("dvc", "darkroom")


def how_it_was_started() -> dict[str, Any]:
    """Return the command, its folder, and the commit of the code, which is None without Git."""
    commit = None
    with suppress(OSError, subprocess.SubprocessError):
        commit = git(paths.ROOT, "rev-parse", "HEAD").stdout.strip() or None
    return {"command": typed(_command_lines()), "folder": str(paths.main_repository()), "commit": commit}


def typed(commands: list[list[str]]) -> str:
    """Return the command of a person among those of a process and its ancestors, the process first: the outermost one."""
    for command in reversed(commands):
        words = command[1:] if Path(command[0]).name.startswith("python") else command
        while words and words[0].startswith("-"):
            words = words[1:]
        if words and Path(words[0]).name in COMMANDS:
            name = "./darkroom" if Path(words[0]).name == "darkroom" else "dvc"
            return shlex.join([name, *words[1:]])
    return shlex.join(["python", *(paths.shown(Path(word)) for word in commands[0][1:])])


def _command_lines() -> list[list[str]]:
    own = psutil.Process()
    with suppress(psutil.Error):
        return [line for process in [own, *own.parents()] if (line := process.cmdline())]
    return [own.cmdline()]
