"""./darkroom labels next: the photos that are worth a label as a table to fill in, and a sheet."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError
from darkroom.cli import suggest
from darkroom.cli.labels import BACKBONE_HELP, sub_parser

if TYPE_CHECKING:
    from darkroom.labels.next import Round

SHOWN = 20
MOST_ASKED = 1000  # at a time: of more, the later ones are better chosen once the first have labels


def main(arguments: list[str]) -> None:
    """Add rows to a table that a person fills in, and write a sheet of the photos."""
    parser = sub_parser(
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
    parser.add_output("--out", metavar="FILE", help="the table, .csv, in FOLDER or above (default: FOLDER/labels.csv)")
    parser.add_output("--sheet", default=Path("labels.png"), metavar="FILE", help="a .png file (default: labels.png)")
    parser.add_argument("--without-raw", action="store_true", help="do not take the labelled images of data/raw into account")
    parser.add_argument("--backbone", metavar="NAME", help=BACKBONE_HELP)
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.nested import outputs_of, read_stages
    from darkroom.base.params_file import load_sections
    from darkroom.labels.next_table import check_folder, check_sheet, open_table, plain_path
    from darkroom.outputs.rule import check_file

    ignore_variables()
    if not 1 <= chosen.count <= MOST_ASKED:
        raise InputError(f"--count: is {chosen.count}, but should be 1 to {MOST_ASKED}; give another number")
    folder = plain_path(chosen.folder)
    outputs = [paths.ROOT / out for stage in read_stages(paths.PIPELINE).values() for out in outputs_of(stage)]
    check_folder(folder, [*outputs, paths.MODELS])
    out = chosen.out or chosen.folder.expanduser() / "labels.csv"
    if chosen.out is None:
        check_file(out, "--out", parser.prog)
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
    print(*_lines(found, folder, first), sep="\n")
    print(f"labels next: {len(found.photos)} of {found.available} photos without a label -> {out}, sheet in {chosen.sheet}")
    name = paths.shown(folder)
    inside = table.out.is_relative_to(folder)
    manifest = f"download.folder={name if inside else paths.shown(table.out.parent)} -S download.manifest={table.out.name}"
    suggest(f"Fill in its column 'label', then: dvc exp run -S download.source=manifest -S {manifest}")


def _lines(found: "Round", folder: Path, first: int) -> Iterator[str]:
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
