"""The two kinds of expected failure, and how every command turns them into one line and an exit status."""

import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from darkroom import paths

PRUNED = 3
# In the environment of processes that the main one has started to train beside it: its number.
MAIN_PROCESS = "DARKROOM_MAIN_PROCESS"
# What the main process has to end by itself, when one beside it has failed or was told to end.
LAST_WORDS_SECONDS = 10.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class InputError(ValueError):
    """Something that a person gave is wrong: the message is `<file or key>: <what>; <what to do>` (exit status 2)."""


class RunError(RuntimeError):
    """The run itself failed, with input that was right: full disk, missing device, … (exit status 1)."""


class Pruned(BaseException):
    """The search that a training belongs to ended it, because others do better: nothing is published (exit status 3)."""


class Interrupted(BaseException):
    """A signal asked the command to end; `message` says what is kept (exit status 128 and the signal's number)."""

    def __init__(self, number: int, message: str = "nothing was recorded, run the same command again"):
        super().__init__(f"interrupted by {signal.Signals(number).name}; {message}")
        self.number = number


def is_main_process() -> bool:
    """Return whether this is the process, of those that train together, that writes and speaks; it starts the others."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def one_line(error: BaseException | str) -> str:
    r"""Return a message on one printable line: control characters become `\x0a`-like escapes."""
    text = error if isinstance(error, str) else str(error) or type(error).__name__
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def described(error: BaseException) -> str:
    """Return kind and message of an error that another library or a plug-in raised, and the plug-in's line if it was one."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f", {paths.shown(Path(frame.filename))}:{frame.lineno}" for frame in frames if _is_plugin(frame.filename)]
    text = str(error).strip()
    return type(error).__name__ + (f": {text}" if text else "") + (places[-1] if places else "")


def _is_plugin(filename: str) -> bool:
    return Path(filename).is_relative_to(paths.PLUGINS)


def warn(message: str) -> None:
    """Tell the user, on one line of standard error, of something that does not stop the command."""
    print(f"warning: {one_line(message)}", file=sys.stderr, flush=True)


def fail(error: BaseException | str, status: int) -> NoReturn:
    """Print `error: …` on one line of standard error and leave with the given exit status."""
    sys.stdout.flush()
    print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process, when all is written and closed, without Python taking torch, Lightning and Arrow apart.

    That takes more than a second, waits for threads that read from a disk which hangs, and aborts the process if a thread of
    Arrow lets go of Python's bytes meanwhile.
    """
    sys.stderr.flush()
    if status:
        _await_main()
    os._exit(status)


def _await_main() -> None:
    """In a process that the main one has started, wait for that to end: it speaks for all of them.

    Lightning kills the main process within five seconds of the first that ends with anything but 0.
    """
    deadline = time.monotonic() + LAST_WORDS_SECONDS
    while not is_main_process() and os.environ.get(MAIN_PROCESS) == str(os.getppid()) and time.monotonic() < deadline:
        time.sleep(0.1)


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _outcome(error: BaseException) -> tuple[str | None, int]:
    """Return the line that explains an error, if it is an expected one, and the exit status."""
    match error:
        case Interrupted():
            return str(error), 128 + error.number
        case InputError():
            return str(error), 2
        case RunError():
            return str(error), 1
        case Pruned():
            return str(error), PRUNED
        case OSError():
            # Files that people name are checked where they enter; what is left is the machine: disk full, no permission.
            return f"{error.filename or 'system'}: {error.strerror or error}; free the disk or mend its permissions", 1
        case _ if any(_is_plugin(frame.filename) for frame in traceback.extract_tb(error.__traceback__)):
            return f"plug-in: {described(error)}; mend it", 1
    return None, 1


def _reader_has_gone() -> bool:
    """Return whether nobody reads the output any more, as `head` does once it has seen enough."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # of errors and hang-ups it tells in any case
    return bool(output.poll(0))


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command's `main`; an expected failure ends in one line, an unexpected one keeps its traceback."""
    # Deprecations inside the libraries are for this project's tests, not for the person at the terminal.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for number in SIGNALS:
        # One that is ignored (nohup, a shell's background job) stays ignored.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        main()
        sys.stdout.flush()
    except (Interrupted, Pruned, Exception) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            os._exit(128 + signal.SIGPIPE)
        told, status = _outcome(error)
        if told is None:
            raise  # a fault of this project, which its maintainers want to see whole
        # Every process of a training is interrupted, or ended by a search: one of them says so.
        if isinstance(error, Interrupted | Pruned) and not is_main_process():
            _leave(status)
        fail(told, status)
    _leave(0)
