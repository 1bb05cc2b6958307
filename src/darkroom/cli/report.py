"""./darkroom report: one page on what a revision measured, or on several beside each other, to look at, send and print."""

from pathlib import Path

from darkroom.base import files, paths
from darkroom.base.errors import InputError, one_line
from darkroom.cli import parser_of

MAX_REVISIONS = 8  # as many as there are colours


def main(arguments: list[str]) -> None:
    """Write the page."""
    parser = parser_of(
        "report",
        "The file needs no network and runs nothing; several revisions stand beside each other.",
        examples=[
            "./darkroom report",
            "./darkroom report my-experiment --out my-experiment.html",
            "./darkroom report main slow long",
        ],
    )
    parser.add_argument("revisions", metavar="REV", nargs="*", help="branch, tag, commit, experiment, or workspace (the default)")
    parser.add_output("--out", metavar="FILE", default=Path("report.html"), help="the page (default: report.html)")
    chosen = parser.parse(arguments)

    from darkroom.pages.report import report
    from darkroom.pages.sections.headline import summary
    from darkroom.pages.sections.words import readable
    from darkroom.versions.results import OUTS, Results
    from darkroom.versions.revisions import WORKSPACE, open_revision

    names = list(dict.fromkeys(chosen.revisions)) or [WORKSPACE]
    if len(names) > MAX_REVISIONS:
        raise InputError(f"REV: {len(names)} revisions do not fit beside each other; name at most {MAX_REVISIONS}")
    found = [Results(open_revision(paths.ROOT, name, OUTS), paths.ROOT) for name in names]
    _, missing = readable(found, lambda results: results.metrics)
    if len(missing) == len(found):
        found[0].metrics  # noqa: B018 - the error says what to do; otherwise the page does
    files.write_text(chosen.out, report(found))
    for results in found:
        print(f"report: {one_line(summary(results))}")
    print(f"report: {chosen.out}, {chosen.out.stat().st_size / 1e6:.1f} MB; opens without a network")
