"""Say how two versions of the data differ: python src/compare.py data HEAD~1 HEAD."""

import argparse
from collections import Counter
from pathlib import Path

from darkroom import paths
from darkroom.data.versions import KINDS, WORKSPACE, compare, read_version, write_changes
from darkroom.errors import one_line, run_command

SHOWN = 20


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Say which pictures two versions of the data have and how they are labelled.")
    parser.add_argument("what", choices=["data"])
    parser.add_argument("old", metavar="REV", help="a commit, branch, tag or experiment, such as HEAD~1 or main")
    parser.add_argument("new", metavar="REV", nargs="?", default=WORKSPACE, help="another one; none: the workspace")
    parser.add_argument("--all", action="store_true", help=f"name all pictures, not {SHOWN} of each kind")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all to a table")
    arguments = parser.parse_args()
    old, new = (read_version(paths.ROOT, revision) for revision in (arguments.old, arguments.new))
    changes = list(compare(old, new))
    if arguments.csv:
        write_changes(arguments.csv, changes)
    for kind in KINDS:
        of_kind = [change for change in changes if change.kind == kind]
        shown = of_kind if arguments.all else of_kind[:SHOWN]
        for change in shown:
            print(one_line(f"{kind:<10}  {change.id}  {' -> '.join(filter(None, (change.before, change.after)))}"))
        if len(of_kind) > len(shown):
            print(f"{kind:<10}  … and {len(of_kind) - len(shown)} more, see --all or --csv")
    for mark, names in (("new class", set(new.classes) - set(old.classes)), ("class gone", set(old.classes) - set(new.classes))):
        for name in sorted(names):
            print(one_line(f"{mark:<10}  {name}"))
    counts = Counter(change.kind for change in changes)
    told = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]) or "no difference"
    print(f"data: {len(old.pictures)} pictures in {arguments.old}, {len(new.pictures)} in {arguments.new}: {told}")


if __name__ == "__main__":
    run_command(main)
