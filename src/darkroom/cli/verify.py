"""./darkroom verify: everything hashed again, and compared with what was recorded."""

import sys

from darkroom.base import paths
from darkroom.base.errors import one_line
from darkroom.cli import parser_of


def main(arguments: list[str]) -> None:
    """Print what is not as it was recorded; the exit status is 1 if there is any."""
    parser = parser_of(
        "verify",
        "It compares parameters, code, data, outputs and DVC's cache with dvc.lock and with what every stage recorded of its "
        "run, and says for each mismatch how to fix it. A line 'note' is no mismatch: what differs there may differ.",
        examples=["./darkroom verify", "./darkroom verify --all"],
        statuses={"0": "everything is as recorded", "1": "something is not"},
    )
    parser.add_argument("--all", action="store_true", help="also list what is as recorded")
    everything = parser.parse(arguments).all

    from darkroom.health.verify import verify

    findings = list(dict.fromkeys(verify(paths.ROOT)))
    wrong = [finding for finding in findings if finding.mark == "FAIL"]
    for finding in findings:
        if everything or finding.mark != "ok":
            print(f"{finding.mark:4}  {one_line(finding.what)}: {one_line(finding.text)}")
    count = f"{len(findings)} checked, {len(wrong)} mismatch" + ("" if len(wrong) == 1 else "es")
    print(f"verify: {count}: " + ("each line above says what to run" if wrong else "everything is as recorded"))
    if wrong:
        sys.stdout.flush()
        sys.exit(1)
