"""./darkroom labels: whose label is wrong, what to label next, and what more labels would give; a sub-command each."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.command import Parser
from darkroom.base.errors import InputError
from darkroom.cli import check_file, parser_of, suggest

if TYPE_CHECKING:
    from darkroom.labels.suspects import Suspects

# Name and line of each; `main` calls the function of the same name below.
WHAT = {
    "check": "Find the images whose label is probably wrong.",
    "curve": "Show how accuracy grows with the number of labelled images, and what twice as many would give.",
}
SHOWN = 20
BACKBONE_HELP = "a network of timm, or the folder of a published model (default: the best one that is installed)"


def main(arguments: list[str]) -> None:
    """Call what the first argument names with the arguments after it."""
    if arguments and arguments[0] in WHAT:
        globals()[f"_{arguments[0]}"](arguments[1:])
        return
    lines = " ".join(f"{name}: {line}" for name, line in WHAT.items())
    parser = parser_of("labels", lines, examples=[f"./darkroom labels {name} --help" for name in WHAT])
    parser.add_argument("what", choices=list(WHAT), metavar="WHAT", help=f"{', '.join(WHAT)}")
    parser.parse(arguments)


def _parser(name: str, details: str, examples: list[str]) -> Parser:
    """Return the parser of a sub-command, to which it adds its arguments."""
    return Parser(f"./darkroom labels {name}", f"{WHAT[name]} {details}", examples=examples)


def _check(arguments: list[str]) -> None:
    """Print the most doubtful labels, and write a table to edit and a sheet."""
    parser = _parser(
        "check",
        "Every image of data/raw, also of val and test, is judged by a classifier on features of a pretrained network that never "
        "saw it. Nothing is changed: 'label' in the table is what download.corrections takes back once you have edited it.",
        [
            "./darkroom labels check",
            "./darkroom labels check --out labels.csv --sheet labels.html",
            "./darkroom labels check --out labels.csv --accept 0.8",
        ],
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a .csv file of the doubtful images, to edit")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="show them on a sheet (.png) or a page (.html)")
    parser.add_argument("--accept", type=float, metavar="P", help="write the proposed class as label from this probability on")
    parser.add_argument("--backbone", metavar="NAME", help=BACKBONE_HELP)
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections
    from darkroom.cli.predict import check_place
    from darkroom.data.pack import Pack
    from darkroom.labels.sheet import check_ending, summary, write_sheet
    from darkroom.labels.table import check_out, write_table

    ignore_variables()
    if chosen.accept is not None and (chosen.out is None or not 0 < chosen.accept <= 1):
        fault = "writes labels to a table; name it after --out" if chosen.out is None else f"is {chosen.accept}; give 0 to 1"
        raise InputError(f"--accept: {fault}")
    for option, path in (("--out", chosen.out), ("--sheet", chosen.sheet)):
        if path is not None:
            check_file(option, path)
            check_place(path, option)
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


def _curve(arguments: list[str]) -> None:
    """Print and draw accuracy by number of images."""
    parser = _parser(
        "curve",
        "Logistic heads are fitted to growing parts of the training images, on features of a pretrained network, and judged on "
        "validation, or in cross-validation where that is small; test is not looked at. A network that is trained as a whole "
        "learns from more images in its own way, often more.",
        ["./darkroom labels curve", "./darkroom labels curve --out curve.csv --chart curve.png"],
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table as .csv")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="where to draw it as .png (default: logs/labels-curve.png)")
    parser.add_argument("--backbone", metavar="NAME", help=BACKBONE_HELP)
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections
    from darkroom.cli.predict import check_place

    ignore_variables()
    for option, path, ending in (("--out", chosen.out, ".csv"), ("--chart", chosen.chart, ".png")):
        if path is not None:
            if path.suffix.lower() != ending:
                raise InputError(f"{option}: {path} does not end with {ending}; name such a file")
            check_file(option, path)
            check_place(path, option)

    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.labels.curve import lines, measure_curve, sentence, write_points
    from darkroom.labels.curve_chart import draw_curve

    params = load_sections(paths.PARAMS, "base", "split", "train", "hardware")
    pack = Pack.open(paths.RAW)
    curve = measure_curve(pack, Split.open(paths.SPLIT, pack), params, chosen.backbone)
    chart = chosen.chart or paths.logs_dir() / "labels-curve.png"
    draw_curve(chart, curve)
    if chosen.out is not None:
        write_points(chosen.out, curve.points)
    print(*lines(curve), sep="\n")
    print(f"labels curve: {sentence(curve)}")
    print(f"labels curve: chart in {paths.shown(chart.absolute())}" + (f", table in {chosen.out}" if chosen.out else ""))
