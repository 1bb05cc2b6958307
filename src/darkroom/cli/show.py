"""./darkroom show: what was tried, a row each."""

import shutil
import sys
import time
from pathlib import Path

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.cli import parser_of
from darkroom.outputs.parser import CommandParser

# Where the output is no terminal.
WIDTH = 120
NOTHING = """\
Nothing was recorded yet. To begin:
  dvc repro && git add -A && git commit -m "First results"
  dvc exp run -n slow -S train.lr=0.003"""


def main(arguments: list[str]) -> None:
    """Print the table."""
    chosen = _parser().parse(arguments)
    if chosen.csv and chosen.md:
        raise InputError("--md: cannot be given together with --csv; choose one")

    from darkroom.history.overview import Request, read_overview

    request = Request(
        names=tuple(chosen.names),
        conditions=tuple(chosen.filter),
        sort=chosen.sort,
        is_reversed=chosen.reverse,
        opened=tuple(chosen.open),
        all_branches=chosen.all_branches,
    )
    overview = read_overview(paths.ROOT, paths.logs_dir(), request, time.time())

    from darkroom.base import files
    from darkroom.history.exports import csv_lines, markdown_lines
    from darkroom.history.layout import Line, paragraph, render
    from darkroom.history.overview import notes
    from darkroom.history.table import Columns

    if chosen.csv:
        table = csv_lines(overview.runs, overview.reference, overview.query)
        if chosen.csv == "-":
            print(table, end="")
        else:
            files.write_text(Path(chosen.csv), table)
            print(f"show: {len(overview.runs)} results -> {chosen.csv}")
        return
    columns = Columns(overview.metrics, overview.reference, overview.opened, overview.query.now)
    *titles, last = columns.headings
    headings, lines = Line("name", "", tuple(titles), last), list(columns.lines(overview.rows))
    if not lines:
        print("No result fulfils this." if request.conditions else NOTHING)
    elif chosen.md:
        print(*markdown_lines(lines, headings), sep="\n")
    else:
        width = shutil.get_terminal_size((WIDTH, 0)).columns if sys.stdout.isatty() else WIDTH
        print(*render(lines, headings, width), "", sep="\n")
        print(*(line for note in notes(overview) for line in paragraph(note, width)), sep="\n")


def _parser() -> CommandParser:
    parser = parser_of(
        "show",
        "A row for the workspace, for each commit of this branch that recorded results, and for each experiment, whatever "
        "commit it started from. Trials of a search and repetitions are one row each; name it to see them.",
        examples=[
            "./darkroom show",
            "./darkroom show search",
            "./darkroom show 'slow*' HEAD --sort minutes",
            "./darkroom show --filter 'val.accuracy > 0.9 and lr < 0.01'",
            "./darkroom show --open all --csv results.csv",
        ],
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiment, commit, search, or a pattern such as 'slow*'")
    parser.add_argument("--open", action="append", default=[], metavar="NAME", help="also list the runs of a search; or all")
    parser.add_argument("--sort", metavar="KEY", help="metric, parameter, minutes, age, name (default: as train.monitor)")
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    condition = "such as 'val.accuracy > 0.9' or 'name ~ slow*'; age is in hours; several with 'and', or the option again"
    parser.add_argument("--filter", action="append", default=[], metavar="CONDITION", help=condition)
    parser.add_argument("--all-branches", action="store_true", help="commits of all local branches")
    parser.add_output("--csv", type=str, metavar="FILE", help="write everything to a file, or to standard output with -")
    parser.add_argument("--md", action="store_true", help="print the table in Markdown")
    return parser
