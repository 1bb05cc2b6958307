"""The arguments of a command that writes files: what it may write is checked as they are read."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.base.command import Parser
from darkroom.outputs.rule import Output, check_outputs


class CommandParser(Parser):
    """The parser of a command.

    Attributes
    ----------
    outputs : dict of Output
        The options that name what it writes, by their names among the values.
    """

    def __init__(self, prog: str, description: str, *, examples: Sequence[str] = (), statuses: Mapping[str, str] | None = None):
        super().__init__(prog, description, examples=examples, statuses=statuses)
        self.outputs: dict[str, Output] = {}

    def add_output(
        self,
        flag: str,
        *,
        other: Callable[[Path], str | None] | None = None,
        may_be_file: bool = False,
        type: Callable[[str], Any] = Path,
        **options: Any,
    ) -> None:
        """Add an option that names a file or a folder to write; `other` and `may_be_file` are those of `Output`."""
        action = self.add_argument(flag, type=type, **options)
        self.outputs[action.dest] = Output(flag, other, may_be_file)

    def parse(self, arguments: Sequence[str]) -> Namespace:
        """Return the values of the arguments.

        Raises
        ------
        InputError
            As `Parser.parse`, and if an output is an input, lies among those of stages, or was not written by this command.
        """
        chosen = super().parse(arguments)
        check_outputs(self.prog, self.outputs, chosen)
        return chosen
