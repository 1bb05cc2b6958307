"""./darkroom compare: how two versions differ; a version is a Git revision, an experiment, or `workspace`."""

import argparse
import shlex
from pathlib import Path

from darkroom.base import paths
from darkroom.base.errors import InputError, nearest
from darkroom.cli import parser_of

SHOWN = 20


def main(arguments: list[str]) -> None:
    """Print the differences."""
    parser = parser_of(
        "compare",
        "It lists images that were added, removed, renamed, replaced, relabelled or moved to another split.",
        examples=[
            "./darkroom compare data HEAD",
            "./darkroom compare data HEAD~1 HEAD --all",
            "./darkroom compare data main my-experiment --csv changes.csv",
        ],
    )
    parser.add_argument("what", metavar="WHAT", help=f"what to compare: {', '.join(COMPARISONS)}")
    parser.add_argument("before", metavar="REV", nargs="?", help="branch, tag, HEAD~1, commit, experiment, or workspace")
    parser.add_argument("after", metavar="REV", nargs="?", help="likewise (default: workspace)")
    parser.add_argument("--all", action="store_true", help=f"list all changes, not {SHOWN} of each kind")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the complete list to a file")
    chosen = parser.parse(arguments)
    if chosen.what not in COMPARISONS:
        hint = nearest(
            chosen.what,
            COMPARISONS,
            f"to compare the data of a revision, run: ./darkroom compare data {shlex.quote(chosen.what)}",
            "'./darkroom compare {} HEAD'",
        )
        raise InputError(f"{chosen.what}: cannot be compared; {hint}")
    if chosen.before is None:
        raise InputError(f"REV: is missing; './darkroom compare {chosen.what} HEAD' compares HEAD with the workspace")
    COMPARISONS[chosen.what](chosen)


def compare_data(chosen: argparse.Namespace) -> None:
    """Compare images, labels and splits."""
    from darkroom.versions import report
    from darkroom.versions.datasets import RAW, SPLIT, read_dataset
    from darkroom.versions.differences import compare
    from darkroom.versions.revisions import WORKSPACE, open_revision

    if chosen.csv:
        report.check_table(chosen.csv)
    names = (chosen.before, chosen.after or WORKSPACE)
    before, after = (open_revision(paths.ROOT, name, (RAW, SPLIT)) for name in names)
    differences = compare(read_dataset(before), read_dataset(after))
    if chosen.csv:
        report.write_table(chosen.csv, differences)
    for line in report.lines(differences, before, after, None if chosen.all else SHOWN):
        print(line)


COMPARISONS = {"data": compare_data}
