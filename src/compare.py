"""Say how two versions differ: python src/compare.py data REV [REV]; a REV is a Git revision, an experiment, or `workspace`."""

import argparse
import difflib
from pathlib import Path

from darkroom import paths
from darkroom.command import run_command
from darkroom.errors import InputError
from darkroom.versions.revisions import WORKSPACE, open_revision

SHOWN = 20


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Say how two versions of the data differ.")
    parser.add_argument("what", metavar="WHAT", help=f"what to compare: {', '.join(COMPARISONS)}")
    parser.add_argument("before", metavar="REV", nargs="?", help="branch, tag, HEAD~1, commit, experiment, or workspace")
    parser.add_argument("after", metavar="REV", nargs="?", default=WORKSPACE, help="the same; none: the workspace")
    parser.add_argument("--all", action="store_true", help=f"list everything, not {SHOWN} of each kind")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the complete list to a file")
    arguments = parser.parse_args()
    if arguments.what not in COMPARISONS:
        near = difflib.get_close_matches(arguments.what, COMPARISONS, n=1) or list(COMPARISONS)
        raise InputError(f"{arguments.what}: cannot be compared; did you mean 'python src/compare.py {near[0]} …'?")
    if arguments.before is None:
        raise InputError(f"REV: is missing; 'python src/compare.py {arguments.what} HEAD' compares HEAD with the workspace")
    COMPARISONS[arguments.what](arguments)


def compare_data(arguments: argparse.Namespace) -> None:
    """Compare images, labels and splits."""
    # Imported here: a mistake in the first word need not wait for it.
    from darkroom.versions import report
    from darkroom.versions.datasets import RAW, SPLIT, read_dataset
    from darkroom.versions.differences import compare

    if arguments.csv:
        report.check_table(arguments.csv)
    before, after = (open_revision(paths.ROOT, name, (RAW, SPLIT)) for name in (arguments.before, arguments.after))
    differences = compare(read_dataset(before), read_dataset(after))
    if arguments.csv:
        report.write_table(arguments.csv, differences)
    for line in report.lines(differences, before, after, None if arguments.all else SHOWN):
        print(line)


COMPARISONS = {"data": compare_data}

if __name__ == "__main__":
    run_command(main)
