"""Check the installation and the workspace, one line each, with the command that mends it: python src/doctor.py."""

import sys
from collections import Counter
from typing import Any

OLDEST = (3, 11)
NEW_ENVIRONMENT = "python3.12 -m venv --clear .venv && source .venv/bin/activate && pip install -r requirements.txt"


def parse_requirement(line: str) -> Any:
    """Return a line of requirements.txt, read by a package that may be missing."""
    from packaging.requirements import Requirement

    return Requirement(line)


def main() -> None:
    """Run the command."""
    from pathlib import Path

    from darkroom import paths
    from darkroom.health.checks import all_checks
    from darkroom.health.findings import counted

    marks: Counter[str] = Counter()
    for check in all_checks(paths.ROOT, parse_requirement):
        for finding in check.findings(paths.ROOT):
            print(finding, flush=True)
            marks[finding.mark] += 1
    to_do = marks["fail"] + marks["warn"]
    place = f"; the commands are meant for 'cd {paths.ROOT}'" if to_do and Path.cwd() != paths.ROOT else ""
    print(f"\n{marks['fail']} failed, {counted(marks['warn'], 'warning')}, {marks['ok']} ok{place}")
    if marks["fail"]:
        sys.exit(1)


if __name__ == "__main__":
    if sys.version_info < OLDEST:  # which cannot even read the modules below
        print(f"fail  python         is {sys.version.split()[0]}, but should be 3.11 to 3.13; run: {NEW_ENVIRONMENT}")
        sys.exit(1)
    from darkroom.command import run_command

    run_command(main)
