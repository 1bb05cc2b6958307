"""./darkroom compare: how revisions differ, and whether one is better; they are Git's, experiments, or `workspace`."""

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.cli import parser_of

SHOWN = 20
DATA, WORKSPACE = "data", "workspace"
SPLITS = ("test", "val")
OF_RESULTS = ("split", "md", "html", "gate")


def main(arguments: list[str]) -> None:
    """Print the differences, and judge gates."""
    parser = parser_of(
        "compare",
        "It shows metrics with their noise, the images that were fixed and broken, and what was changed; every revision is "
        "compared with the first one, a single one with the workspace. A gate fails when a metric is worse beyond noise. "
        "'data' as the first word compares the data alone: images that were added, removed, renamed, replaced, relabelled or "
        "moved to another split.",
        examples=[
            "./darkroom compare HEAD",
            "./darkroom compare main slow long --split val",
            "./darkroom compare main my-experiment --html compare.html",
            "./darkroom compare main --md - --gate 'test.accuracy >= main - 0.005'",
            "./darkroom compare data HEAD~1 HEAD --all",
            "./darkroom compare data main my-experiment --csv changes.csv",
        ],
        statuses={"1": "a gate failed, or the run did"},
    )
    parser.add_argument("revisions", metavar="REV", nargs="*", help="branch, tag, HEAD~1, commit, experiment, or workspace")
    parser.add_argument("--split", choices=SPLITS, help="whose images to compare (default: test)")
    gate = "a condition that the later revisions must meet, such as 'test.accuracy >= main - 0.005' or 'test.loss <= 0.2'"
    parser.add_argument("--gate", action="append", default=[], metavar="CONDITION", help=f"{gate}; may be given several times")
    parser.add_output("--md", type=str, metavar="FILE", help="write Markdown for a pull request; - prints it instead of text")
    parser.add_output("--html", metavar="FILE", help="write a page with thumbnails of the images")
    parser.add_argument("--all", action="store_true", help=f"list everything, not {SHOWN} of each kind")
    parser.add_output("--csv", metavar="FILE", help="of 'data': write the complete list to a file")
    chosen = parser.parse(arguments)
    if chosen.revisions[:1] == [DATA]:
        compare_data(chosen)
    else:
        compare_results(chosen)


def compare_data(chosen: argparse.Namespace) -> None:
    """Compare images, labels and splits."""
    for name in OF_RESULTS:
        if getattr(chosen, name):
            raise InputError(f"--{name}: is not of 'compare data'; leave it out, or leave out 'data'")
    names = [*chosen.revisions[1:], WORKSPACE]
    if len(names) == 1:
        raise InputError("REV: is missing; './darkroom compare data HEAD' compares HEAD with the workspace")
    if len(names) > 3:
        raise InputError(f"{names[2]}: unexpected argument; './darkroom compare data' compares two revisions")

    from darkroom.versions import report
    from darkroom.versions.datasets import RAW, SPLIT, read_dataset
    from darkroom.versions.differences import compare
    from darkroom.versions.revisions import open_revision

    before, after = (open_revision(paths.ROOT, name, (RAW, SPLIT)) for name in names[:2])
    differences = compare(read_dataset(before), read_dataset(after))
    if chosen.csv:
        report.write_table(chosen.csv, differences)
    for line in report.lines(differences, before, after, None if chosen.all else SHOWN):
        print(line)


def compare_results(chosen: argparse.Namespace) -> None:
    """Compare revisions with the first one, and judge them by gates."""
    if chosen.csv:
        raise InputError("--csv: is of 'compare data'; write './darkroom compare data REV --csv FILE'")
    if not chosen.revisions and not chosen.gate:
        raise InputError("REV: is missing; './darkroom compare HEAD' compares HEAD with the workspace")

    from darkroom.comparison.comparison import Comparer
    from darkroom.comparison.gate import read_gate

    gates = [read_gate(text) for text in chosen.gate]
    # Without a revision, that of the first gate which names one is the first.
    named = chosen.revisions or [gate.revision for gate in gates if gate.revision][:1]
    first, later = named[:1], named[1:] or [WORKSPACE]
    comparer = Comparer(paths.ROOT, paths.logs_dir())
    with _not_mistaken_for_data(first):
        comparisons = [comparer.compare(one, other, chosen.split or "test") for one in first for other in later]
    verdicts = [comparer.judge(gate, name) for name in later for gate in gates]

    from darkroom.comparison import markdown, text

    written = markdown.markdown(comparisons, verdicts) if chosen.md else ""
    if chosen.html:
        from darkroom.comparison.page import page

        files.write_text(chosen.html, page(comparisons, verdicts, paths.RAW))
    if chosen.md == "-":
        print(written, end="")
    else:
        print(*text.report(comparisons, verdicts, None if chosen.all else SHOWN), sep="\n")
        if chosen.md:
            files.write_text(Path(chosen.md), written)
    if not all(verdict.passed for verdict in verdicts):
        sys.stdout.flush()
        sys.exit(1)


@contextmanager
def _not_mistaken_for_data(names: Sequence[str]) -> Iterator[None]:
    """Of an unknown first revision that is nearly `data`, say so."""
    try:
        yield
    except InputError as error:
        if names and str(error).startswith(f"{names[0]}: is not a") and difflib.get_close_matches(names[0], [DATA]):
            raise InputError(f"{names[0]}: is not a revision; did you mean './darkroom compare data HEAD'?") from None
        raise
