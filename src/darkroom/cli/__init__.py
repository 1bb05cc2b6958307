"""The commands of ./darkroom, one file each; here is how they are listed, found and called.

An old Python, without any package, reads this file as well, so that `./darkroom doctor` can say what is missing.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from darkroom.outputs.parser import CommandParser

OLDEST = (3, 11)
COMMANDS = {
    "preset": "Print presets of conf/ as arguments of 'dvc exp run'.",
    "download": "Print the SHA-256 of an archive.",
    "evaluate": "Validate or test any model without training, also on other images.",
    "predict": "Predict the classes of images.",
    "explain": "Show where in an image a class comes from, and the nearest training images.",
    "export": "Write a model as a file for other programs, and compare it with the model.",
    "serve": "Answer over HTTP, with a page to drop photos on.",
    "labels": "Find wrong labels, choose what to label next, estimate what more labels would give.",
    "tune": "Search for better parameters; every trial is an experiment.",
    "repeat": "Repeat a training with several seeds, or on every fold.",
    "find": "Propose a learning rate, a batch size or a network by trials.",
    "show": "List what was tried: commits and experiments with their results.",
    "commit": "Print the commit of an experiment, a branch or a tag.",
    "compare": "Show whether a revision is better, on which images, and what was changed.",
    "drift": "Show whether new photos differ from the images that a model was trained on.",
    "report": "Write one page on what a revision measured, or on several beside each other.",
    "doctor": "Check the installation and the workspace.",
    "verify": "Hash everything again and compare it with what was recorded.",
}
# No option of DVC's, so that it runs nothing.
REFUSED_BY_DVC = "--preset-failed"


def main() -> None:
    """Run the command that sys.argv names."""
    arguments = sys.argv[1:]
    with refused_by_dvc(arguments):
        if sys.version_info < OLDEST:
            sys.exit(report_old_python(arguments))
        from darkroom.base.command import run_command

        run_command(lambda: dispatch(arguments))


def dispatch(arguments: list[str]) -> None:
    """Call a command with the arguments after its name, or print the list of commands."""
    from importlib import import_module

    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return
    name = arguments[0]
    with refused_by_dvc(arguments):
        if name not in COMMANDS:
            from darkroom.base.errors import InputError, nearest

            known = f"there are {', '.join(COMMANDS)}"
            if name.startswith("-"):
                raise InputError(f"{name}: unknown flag; " + nearest(name, ["--help"], known))
            raise InputError(f"{name or repr(name)}: unknown command; " + nearest(name, COMMANDS, known, "'./darkroom {}'"))
        import_module(f"darkroom.cli.{name}").main(arguments[1:])


@contextmanager
def refused_by_dvc(arguments: list[str]) -> Iterator[None]:
    """Print an argument that DVC refuses if `preset`, or a command that does not exist, fails in whatever way.

    Without it `dvc exp run $(./darkroom preset …)` would run what params.yaml says and call it this preset.
    """
    try:
        yield
    except BaseException as error:
        succeeded = isinstance(error, SystemExit) and not error.code
        is_preset = bool(arguments) and (arguments[0] == "preset" or arguments[0] not in COMMANDS)
        if is_preset and not succeeded and not sys.stdout.isatty():
            print(REFUSED_BY_DVC, flush=True)
        raise


def overview() -> str:
    """Return the list of commands, a line each."""
    lines = [f"  {name:<10}{line}" for name, line in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ./darkroom COMMAND ...     (or: python darkroom COMMAND ...)",
            "",
            "All commands but the stages of the pipeline: 'dvc repro' and 'dvc exp run' run those.",
            "",
            "commands:",
            *lines,
            "",
            "'./darkroom COMMAND --help' describes a command, with examples.",
        ]
    )


def parser_of(
    name: str, details: str = "", *, examples: Sequence[str] = (), statuses: dict[str, str] | None = None
) -> CommandParser:
    """Return the parser of a command, to which it adds its arguments; what it writes is added by `add_output`."""
    from darkroom.outputs.parser import CommandParser

    description = COMMANDS[name] + (f" {details}" if details else "")
    return CommandParser(f"./darkroom {name}", description, examples=examples, statuses=statuses)


def suggest(line: str) -> None:
    """Print what to type next below an output that programs read: on a terminal alone."""
    if sys.stdout.isatty():
        print(line)


def report_old_python(arguments: list[str]) -> int:
    """Say on one line that this Python is too old, and return the exit status."""
    fault = f"is {sys.version.split()[0]}, but should be 3.11 to 3.13"
    command = "python3.12 -m venv --clear .venv && source .venv/bin/activate && pip install -r requirements.txt"
    if arguments[:1] == ["doctor"]:
        print(f"fail  python         {fault}; run: {command}")
    else:
        print(f"error: python: {fault}; run '{command}'", file=sys.stderr)
    return 1
