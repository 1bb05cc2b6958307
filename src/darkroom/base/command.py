"""How every command and stage begins and ends: arguments and --help; an expected failure is one line and an exit status."""

import argparse
import os
import re
import select
import signal
import sys
import textwrap
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from darkroom.base import paths
from darkroom.base.environment import ignore_variables, limit_spinning
from darkroom.base.errors import (
    MAIN_PROCESS,
    PRUNED,
    InputError,
    Interrupted,
    Pruned,
    RunError,
    described,
    is_main_process,
    is_plugin,
    nearest,
    one_line,
)
from darkroom.base.signals import SIGNALS, interrupt

# How long another process waits for the main one to end, when one of them has failed or was interrupted.
MAIN_ENDS_SECONDS = 10.0
WIDTH = 100
OWN_PACKAGES = ("darkroom", "plugins")
STATUSES = {
    "0": "done",
    "1": "the run failed: full disk, missing package or device, ...",
    "2": "the input is wrong: arguments, params.yaml, data, ...",
    "128+n": "ended by signal n; 130: Ctrl-C",
}


class Parser(argparse.ArgumentParser):
    """The arguments of a stage or command, with `--help` in one style and mistakes as InputError.

    Parameters
    ----------
    prog
        How it is called: `./darkroom compare`.
    description
        What it does, in one or two sentences.
    examples
        Commands to copy.
    statuses
        Meanings of exit statuses that differ from the usual ones.
    """

    def __init__(self, prog: str, description: str, *, examples: Sequence[str] = (), statuses: Mapping[str, str] | None = None):
        lines = [f"  {status:<6} {meaning}" for status, meaning in sorted({**STATUSES, **(statuses or {})}.items(), key=_order)]
        epilog = "\n".join(["examples:", *(f"  {example}" for example in examples), "", "exit status:", *lines])
        super().__init__(
            prog=prog,
            description=textwrap.fill(" ".join(description.split()), WIDTH),
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.add_argument("-h", "--help", action="help", help="show this text, and do nothing else")

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Return the values of the arguments.

        Raises
        ------
        InputError
            If one of them is unknown, missing or wrong; an unknown flag is named before all else.
        """
        for argument in arguments:
            if argument == "--":
                break
            flag = argument.partition("=")[0]
            is_flag = re.match(r"-[^\d.]", flag) and " " not in flag
            if is_flag and not {flag, flag[:2] if flag[1] != "-" else flag} & self._option_string_actions.keys():
                known = [name for name in self._option_string_actions if name.startswith("--")]
                raise InputError(f"{flag}: unknown flag; {nearest(flag, known, self._see_help())}")
        return self.parse_args(arguments)

    def error(self, message: str) -> NoReturn:
        """Raise argparse's message as InputError."""
        for pattern, reworded in (
            (r"the following arguments are required: (.*)", r"\1: is missing"),
            (r"one of the arguments (.*) is required", r"\1: one of them is needed"),
            (r"unrecognized arguments: (.*)", r"\1: unexpected argument"),
            (r"argument (\S+): invalid int value: (.*)", r"\1: is \2, but should be a whole number"),
            (r"argument (\S+): invalid float value: (.*)", r"\1: is \2, but should be a number"),
            (r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", r"\1: is \2, but should be one of \3"),
            (r"argument (\S+): not allowed with argument (.*)", r"\1: cannot be given together with \2"),
            (r"argument (\S+): expected (.*)", r"\1: needs \2"),
            (r"argument (\S+): (.*)", r"\1: \2"),
        ):
            if match := re.fullmatch(pattern, message, re.DOTALL):
                message = match.expand(reworded)
                break
        raise InputError(f"{message}; {self._see_help()}")

    def _see_help(self) -> str:
        return f"'{self.prog} --help' shows the arguments"


def _order(item: tuple[str, str]) -> tuple[bool, str]:
    return not item[0].isdecimal(), item[0]


def stage_parser(name: str, document: str | None, *examples: str) -> Parser:
    """Return the parser of a stage, which takes no arguments: all settings stand in params.yaml.

    Parameters
    ----------
    name
        Of the stage.
    document
        The docstring of its script.
    examples
        Further commands to copy.
    """
    statuses = {str(PRUNED): "the search that this trial belongs to ended it early"} if name == "train" else None
    common = [f"dvc repro {name}", f"python src/{name}.py"]
    return Parser(f"python src/{name}.py", document or "", examples=[*common, *examples], statuses=statuses)


def fail(error: BaseException | str, status: int) -> NoReturn:
    """Print `error: …` on one line of standard error and leave with the given exit status."""
    sys.stdout.flush()
    print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
    _leave(status)


def _leave(status: int) -> NoReturn:
    """End the process once everything is written and closed, without Python's shutdown of torch, Lightning and Arrow.

    The shutdown takes more than a second, waits for threads that read from a disk which hangs, and aborts the process if a
    thread of Arrow frees Python's bytes meanwhile.
    """
    sys.stderr.flush()
    if status:
        _await_main()
    os._exit(status)


def _await_main() -> None:
    """In a process that the main one started, wait for the main one to end: it reports the error for all of them.

    Lightning kills the main process within five seconds of the first that ends with anything but 0.
    """
    deadline = time.monotonic() + MAIN_ENDS_SECONDS
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
            return f"{error.filename or 'system'}: {error.strerror or error}; free the disk or fix its permissions", 1
        case _ if any(is_plugin(frame.filename) for frame in traceback.extract_tb(error.__traceback__)):
            return f"plug-in: {described(error)}; fix it", 1
        case ModuleNotFoundError() if error.name and error.name.partition(".")[0] not in OWN_PACKAGES:
            return f"{error.name}: is not installed; './darkroom doctor' shows how to install it", 1
    return None, 1


def _reader_has_gone() -> bool:
    """Return whether nobody reads the output any more, as `head` does once it has seen enough."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors and hang-ups are reported in any case
    return bool(output.poll(0))


def run_stage(main: Callable[[], None], parser: Parser) -> NoReturn:
    """Run a stage's `main` if it was called without arguments, see `run_command`."""

    def run() -> None:
        parser.parse(sys.argv[1:])
        ignore_variables()
        main()

    run_command(run)


def run_command(main: Callable[[], None]) -> NoReturn:
    """Run a command's `main`; an expected failure ends in one line, an unexpected one keeps its traceback."""
    limit_spinning()
    # Git, and DVC which reads with it, would take the hook's repository and index for those of this checkout.
    for name in paths.SET_BY_HOOKS:
        os.environ.pop(name, None)
    # Deprecations inside the libraries are for this project's tests, not for the person at the terminal.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for number in SIGNALS:
        # One that is ignored (nohup, a shell's background job) stays ignored.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        main()
        sys.stdout.flush()
    except (Interrupted, Pruned, Exception) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            os._exit(128 + signal.SIGPIPE)
        line, status = _outcome(error)
        if line is None:
            raise  # a fault of this project: its maintainers need the traceback
        # Every process of a training is interrupted or pruned; the main one reports it.
        if isinstance(error, Interrupted | Pruned) and not is_main_process():
            _leave(status)
        fail(line, status)
    _leave(0)
