"""Hash everything anew and say what is not what was recorded, and how to get it back: python src/verify.py."""

import argparse
import sys

from darkroom import paths
from darkroom.command import run_command
from darkroom.errors import one_line
from darkroom.health.verify import verify


def main() -> None:
    """Run the command; the exit status is 1 if anything is not as it was recorded."""
    parser = argparse.ArgumentParser(
        description="Compare parameters, code, data, outputs and DVC's cache with what was recorded."
    )
    parser.add_argument("--all", action="store_true", help="name what is right, too")
    everything = parser.parse_args().all
    findings = list(dict.fromkeys(verify(paths.ROOT)))
    wrong = [finding for finding in findings if not finding.right]
    for finding in findings if everything else wrong:
        print(f"{'ok  ' if finding.right else 'FAIL'}  {one_line(finding.what)}: {one_line(finding.text)}")
    print(f"verify: {len(findings)} looked at, {len(wrong)} wrong" + ("" if wrong else ": everything is what was recorded"))
    if wrong:
        sys.stdout.flush()
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
