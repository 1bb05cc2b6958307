"""How every command and stage ends: an expected failure is one line and an exit status."""

import os
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import NoReturn

from darkroom.errors import (
    MAIN_PROCESS,
    PRUNED,
    InputError,
    Interrupted,
    Pruned,
    RunError,
    described,
    is_main_process,
    is_plugin,
    one_line,
)
from darkroom.signals import SIGNALS, _interrupt

# What the main process has to end by itself, when one beside it has failed or was told to end.
LAST_WORDS_SECONDS = 10.0


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
        case _ if any(is_plugin(frame.filename) for frame in traceback.extract_tb(error.__traceback__)):
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
