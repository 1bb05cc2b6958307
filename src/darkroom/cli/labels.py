"""./darkroom labels: whose label is wrong, what to label next, and what more labels would give; a sub-command each."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.command import Parser
from darkroom.base.errors import InputError
from darkroom.cli import check_file, parser_of, suggest

if TYPE_CHECKING:
    from darkroom.labels.next import Round
    from darkroom.labels.suspects import Suspects

# Name and line of each; `main` calls the function of the same name below.
WHAT = {
    "check": "Find the images whose label is probably wrong.",
    "next": "Choose the photos of a folder that are worth a label.",
}
SHOWN = 20
MOST_ASKED = 1000  # at a time: of more, the later ones are better chosen once the first have labels
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


def _next(arguments: list[str]) -> None:
    """Add rows to a table that a person fills in, and write a sheet of the photos."""
    parser = _parser(
        "next",
        "It adds a row for each to a table whose column 'label' you fill in, and which download.source=manifest takes back; run "
        "it again for the next ones. What has a label, in the table or in data/raw, is taken into account. No photo is changed.",
        [
            "./darkroom labels next photos/ --count 48",
            "./darkroom labels next photos/ --count 24 --sheet next.png --backbone models",
        ],
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photos, also in folders inside it")
    parser.add_argument("--count", type=int, default=24, metavar="N", help=f"how many, 1 to {MOST_ASKED} (default: 24)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the table, .csv, in FOLDER or above (default: FOLDER/labels.csv)"
    )
    parser.add_argument(
        "--sheet", type=Path, default=Path("labels.png"), metavar="FILE", help="a .png file (default: labels.png)"
    )
    parser.add_argument("--without-raw", action="store_true", help="do not take the labelled images of data/raw into account")
    parser.add_argument("--backbone", metavar="NAME", help=BACKBONE_HELP)
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.nested import outputs_of, read_stages
    from darkroom.base.params_file import load_sections
    from darkroom.cli.predict import check_place
    from darkroom.labels.next_table import check_folder, check_sheet, open_table, plain_path

    ignore_variables()
    if not 1 <= chosen.count <= MOST_ASKED:
        raise InputError(f"--count: is {chosen.count}, but should be 1 to {MOST_ASKED}; give another number")
    folder = plain_path(chosen.folder)
    outputs = [paths.ROOT / out for stage in read_stages(paths.PIPELINE).values() for out in outputs_of(stage)]
    check_folder(folder, [*outputs, paths.MODELS])
    out = chosen.out or chosen.folder.expanduser() / "labels.csv"
    for option, path in (("--out", out), ("--sheet", chosen.sheet)):
        check_file(option, path)
        check_place(path, option)
    check_sheet(chosen.sheet, folder)
    table = open_table(out, folder)
    params = load_sections(paths.PARAMS, "base", "split", "predict", "train", "hardware")

    from darkroom.labels.next import next_photos
    from darkroom.labels.next_labelled import open_raw
    from darkroom.labels.next_sheet import write_sheet
    from darkroom.labels.next_table import write_table

    pack = None if chosen.without_raw else open_raw()
    found = next_photos(folder, table, chosen.count, params, pack=pack, backbone=chosen.backbone)
    first = table.last + 1
    write_sheet(chosen.sheet, found.photos, first, params.predict.max_pixels)
    write_table(table, found.photos)
    print(*_next_lines(found, folder, first), sep="\n")
    print(f"labels next: {len(found.photos)} of {found.available} photos without a label -> {out}, sheet in {chosen.sheet}")
    name = paths.shown(folder)
    inside = table.out.is_relative_to(folder)
    manifest = f"download.folder={name if inside else paths.shown(table.out.parent)} -S download.manifest={table.out.name}"
    suggest(f"Fill in its column 'label', then: dvc exp run -S download.source=manifest -S {manifest}")


def _next_lines(found: "Round", folder: Path, first: int) -> Iterator[str]:
    """Yield a table of the first photos, and what was taken into account."""
    from darkroom.data.listing import printable
    from darkroom.experiments.text import table

    rows = [
        (
            str(first + place),
            printable(each.path.relative_to(folder).as_posix()),
            *((printable(each.proposed), f"{each.probability:.4f}") if each.probability is not None else ("", "")),
            each.why,
        )
        for place, each in enumerate(found.photos[:SHOWN])
    ]
    yield from table(rows, ["number", "photo", "proposed", "probability", "why"])
    if len(found.photos) > SHOWN:
        yield f"... and {len(found.photos) - SHOWN} more, see the table"
    yield from (f"labels next: {note}" for note in found.notes)
