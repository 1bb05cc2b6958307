"""The two kinds of expected failure, and how every command turns them into one line and an exit status."""

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from darkroom.base import paths

PRUNED = 3
MAX_LISTED = 10
# Environment variable of the processes that the main one starts for a training: the main one's process ID.
MAIN_PROCESS = "DARKROOM_MAIN_PROCESS"


class InputError(ValueError):
    """Something that a person gave is wrong: the message is `<file or key>: <what>; <what to do>` (exit status 2)."""


class RunError(RuntimeError):
    """The run itself failed, with input that was right: full disk, missing device, … (exit status 1)."""


class Pruned(BaseException):
    """The search pruned this training, since other trials were better: nothing is published (exit status 3)."""


class Interrupted(BaseException):
    """A signal asked the command to end; `message` says what is kept (exit status 128 and the signal's number)."""

    def __init__(self, number: int, message: str = "nothing was recorded, run the same command again"):
        super().__init__(f"interrupted by {signal.Signals(number).name}; {message}")
        self.number = number


def is_main_process() -> bool:
    """Return whether this is the main process of a training, which starts the others, and alone writes files and messages."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def one_line(error: BaseException | str) -> str:
    r"""Return a message on one printable line: control characters become `\x0a`-like escapes."""
    text = error if isinstance(error, str) else str(error) or type(error).__name__
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def nearest(word: str, known: Iterable[str], otherwise: str, shown: str = "'{}'") -> str:
    """Return `did you mean …?` with the nearest known word put into `shown`, or what to do where none is near.

    Upper and lower case count as the same, so that `Adamw` is AdamW rather than Adam, which differs from it by one letter, too.
    """
    folded = {each.casefold(): each for each in reversed(list(known))}
    near = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.5)
    return f"did you mean {shown.replace('{}', folded[near[0]])}?" if near else otherwise


def nearest_path(name: str, otherwise: str, root: Path = Path()) -> str:
    """Return `did you mean …?` with the path in the same folder whose name is nearest, else `otherwise`.

    A path that is not absolute is relative to `root`.
    """
    try:
        path = Path(name).expanduser()
        beside = [each.name for each in (root / path.parent).iterdir() if each.name != path.name]
    except (OSError, RuntimeError, ValueError):  # no such folder or user, not a path at all
        return otherwise
    shown = f"{path.parent}/" if str(path.parent) != "." else ""
    return nearest(path.name, beside, otherwise, f"'{shown}{{}}'")


def listed(names: Iterable[str]) -> str:
    """Return names for a message, and of many only the first and how many there are."""
    names = list(names)
    return ", ".join(names) if len(names) <= MAX_LISTED else f"{', '.join(names[:MAX_LISTED])}, … ({len(names)} in all)"


def counted(number: int, noun: str) -> str:
    """Return `1 image`, `2 images`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def described(error: BaseException) -> str:
    """Return kind and message of an error that another library or a plug-in raised, and the plug-in's line if it was one."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f", {paths.shown(Path(frame.filename))}:{frame.lineno}" for frame in frames if is_plugin(frame.filename)]
    text = str(error).strip()
    return type(error).__name__ + (f": {text}" if text else "") + (places[-1] if places else "")


def is_plugin(filename: str) -> bool:
    """Return whether a file of code is one of src/plugins."""
    return Path(filename).is_relative_to(paths.PLUGINS)


def warn(message: str) -> None:
    """Print a warning on one line of standard error; the command goes on."""
    print(f"warning: {one_line(message)}", file=sys.stderr, flush=True)
