"""./darkroom doctor: checks of the installation and the workspace, one line each, with the command that fixes what is wrong."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

from darkroom.base import paths
from darkroom.cli import parser_of


def main(arguments: list[str]) -> None:
    """Run all checks; the exit status is 1 if one fails."""
    parser = parser_of(
        "doctor",
        "It prints a line for every check, with the command that fixes what is wrong. It runs without any package installed.",
        examples=["./darkroom doctor"],
        statuses={"0": "no check failed; there may be warnings", "1": "a check failed"},
    )
    parser.parse(arguments)

    from darkroom.base.errors import counted
    from darkroom.health.checks import all_checks

    marks: Counter[str] = Counter()
    for check in all_checks(paths.ROOT, parse_requirement):
        for finding in check.findings(paths.ROOT):
            print(finding, flush=True)
            marks[finding.mark] += 1
    to_do = marks["fail"] + marks["warn"]
    place = f"; run the commands in {paths.ROOT}" if Path.cwd() != paths.ROOT else "; run the commands above"
    if not to_do:
        place = "; 'dvc repro' runs the pipeline"
    print(f"\n{marks['fail']} failed, {counted(marks['warn'], 'warning')}, {marks['ok']} ok{place}")
    if marks["fail"]:
        sys.exit(1)


def parse_requirement(line: str) -> Any:
    """Return a line of requirements.txt, read by a package that may be missing."""
    from packaging.requirements import Requirement

    return Requirement(line)
