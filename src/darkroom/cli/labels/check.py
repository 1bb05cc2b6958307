"""./darkroom labels check: the most doubtful labels as a table to edit, and a sheet."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError
from darkroom.cli import suggest
from darkroom.cli.labels import BACKBONE_HELP, sub_parser

if TYPE_CHECKING:
    from darkroom.labels.suspects import Suspects

SHOWN = 20


def main(arguments: list[str]) -> None:
    """Print the most doubtful labels, and write a table to edit and a sheet."""
    parser = sub_parser(
        "check",
        "Every image of data/raw, also of val and test, is judged by a classifier on features of a pretrained network that never "
        "saw it. Nothing is changed: 'label' in the table is what download.corrections takes back once you have edited it.",
        [
            "./darkroom labels check",
            "./darkroom labels check --out labels.csv --sheet labels.html",
            "./darkroom labels check --out labels.csv --accept 0.8",
        ],
    )
    parser.add_output("--out", metavar="FILE", help="write a .csv file of the doubtful images, to edit")
    parser.add_output("--sheet", metavar="FILE", help="show them on a sheet (.png) or a page (.html)")
    parser.add_argument("--accept", type=float, metavar="P", help="write the proposed class as label from this probability on")
    parser.add_argument("--backbone", metavar="NAME", help=BACKBONE_HELP)
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections
    from darkroom.data.pack import Pack
    from darkroom.labels.sheet import check_ending, summary, write_sheet
    from darkroom.labels.table import check_out, write_table

    ignore_variables()
    if chosen.accept is not None and (chosen.out is None or not 0 < chosen.accept <= 1):
        fault = "writes labels to a table; name it after --out" if chosen.out is None else f"is {chosen.accept}; give 0 to 1"
        raise InputError(f"--accept: {fault}")
    if chosen.sheet is not None:
        check_ending(chosen.sheet)
    params = load_sections(paths.PARAMS, "base", "split", "train", "hardware")
    pack = Pack.open(paths.RAW)
    if chosen.out is not None:
        check_out(chosen.out, pack)

    from darkroom.labels.check import check_labels

    suspects = check_labels(pack, params, chosen.backbone)
    for line in _lines(suspects):
        print(line)
    if chosen.sheet is not None:
        write_sheet(chosen.sheet, suspects, pack.shown)
        print(f"labels check: sheet in {chosen.sheet}")
    if chosen.out is None:
        print(f"labels check: {summary(suspects)}")
        suggest("labels check: nothing was written; '--out labels.csv' writes a table to edit, '--sheet labels.html' shows them")
        return
    taken = write_table(chosen.out, suspects, pack.dataset, chosen.accept)
    print(f"labels check: {summary(suspects)}; {len(suspects.found)} doubtful, {taken} accepted -> {chosen.out}")
    suggest(
        "Write the right class, or 'remove', into its column 'label', then: "
        f"dvc exp run -S download.corrections={paths.shown(chosen.out.absolute())}"
    )


def _lines(suspects: "Suspects") -> Iterator[str]:
    """Yield a table of the most doubtful images, and what was not checked."""
    from darkroom.base.errors import listed
    from darkroom.experiments.text import table

    rows = [
        (each.id, each.label, each.proposed if each.proposed != each.label else "", f"{each.confidence:.4f}", each.note)
        for each in suspects.found[:SHOWN]
    ]
    if rows:
        yield from table(rows, ["image", "label", "proposed", "confidence", ""])
    if len(suspects.found) > SHOWN:
        yield f"... and {len(suspects.found) - SHOWN} more; write all of them to a file with '--out labels.csv'"
    if suspects.unchecked:
        yield f"labels check: not checked, since they have one image alone: {listed(suspects.unchecked)}"
