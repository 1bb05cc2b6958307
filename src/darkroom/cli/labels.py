"""./darkroom labels: whose label is wrong, what to label next, and what more labels would give; a sub-command each."""

from darkroom.base.command import Parser
from darkroom.cli import parser_of

# Name and line of each; `main` calls the function of the same name below.
WHAT = {
    "check": "Rank the images by how probably their label is wrong.",
}


def main(arguments: list[str]) -> None:
    """Call what the first argument names with the arguments after it."""
    if arguments and arguments[0] in WHAT:
        globals()[f"_{arguments[0]}"](arguments[1:])
        return
    lines = " ".join(f"{name}: {line}" for name, line in WHAT.items())
    parser = parser_of("labels", lines, examples=[f"./darkroom labels {name} --help" for name in WHAT])
    parser.add_argument("what", choices=list(WHAT), metavar="WHAT", help=f"{', '.join(WHAT)}")
    parser.parse(arguments)


def _parser(name: str, details: str, examples: list[str]) -> Parser:
    """Return the parser of a sub-command, to which it adds its arguments."""
    return Parser(f"./darkroom labels {name}", f"{WHAT[name]} {details}", examples=examples)


def _check(arguments: list[str]) -> None:
    parser = _parser("check", "Nothing is changed.", ["./darkroom labels check"])
    parser.parse(arguments)
