"""./darkroom labels: whose label is wrong, what to label next, and what more labels would give; a sub-command each."""

from importlib import import_module

from darkroom.cli import parser_of
from darkroom.outputs.parser import CommandParser

# Name and line of each; `main` calls that of the file with its name.
WHAT = {
    "check": "Find the images whose label is probably wrong.",
    "next": "Choose the photos of a folder that are worth a label.",
    "curve": "Show how accuracy grows with the number of labelled images, and what twice as many would give.",
}
BACKBONE_HELP = "a network of timm, or the folder of a published model (default: the best one that is installed)"


def main(arguments: list[str]) -> None:
    """Call what the first argument names with the arguments after it."""
    if arguments and arguments[0] in WHAT:
        import_module(f"darkroom.cli.labels.{arguments[0]}").main(arguments[1:])
        return
    lines = " ".join(f"{name}: {line}" for name, line in WHAT.items())
    parser = parser_of("labels", lines, examples=[f"./darkroom labels {name} --help" for name in WHAT])
    parser.add_argument("what", choices=list(WHAT), metavar="WHAT", help=f"{', '.join(WHAT)}")
    parser.parse(arguments)


def sub_parser(name: str, details: str, examples: list[str]) -> CommandParser:
    """Return the parser of a sub-command, to which it adds its arguments."""
    return CommandParser(f"./darkroom labels {name}", f"{WHAT[name]} {details}", examples=examples)
