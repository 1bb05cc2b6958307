"""./darkroom drift: how new photos differ from the images that a model was trained on, and which are foreign."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.api.named_model import MODEL_HELP
from darkroom.base.errors import InputError
from darkroom.cli import parser_of, suggest
from darkroom.cli.labels import BACKBONE_HELP

if TYPE_CHECKING:
    from darkroom.drift.check import Drift


def main(arguments: list[str]) -> None:
    """Print how photos differ, and write a table and a page of them."""
    parser = parser_of(
        "drift",
        "Photos are compared with images of train and val of data/raw: features, photo properties, and with a model its "
        "confidence and classes; images of test are not looked at. Of ordinary folders, one in a hundred is said to drift.",
        examples=[
            "./darkroom drift photos/",
            "./darkroom drift photos/ --out photos.csv --sheet drift.html",
            "./darkroom drift photos/ --gate",
            "./darkroom drift photos/ --model my-experiment --backbone tf_efficientnet_lite0",
        ],
        statuses={"1": "with --gate: there is drift; or the run failed"},
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photos, also in folders inside it")
    parser.add_output("--out", metavar="FILE", help="write a .csv or .parquet file of the photos, the most foreign first")
    parser.add_output("--sheet", metavar="FILE", help="write a page (.html) with the most foreign photos")
    parser.add_argument("--gate", action="store_true", help="end with status 1 if there is drift")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models, if there is one)")
    parser.add_argument("--backbone", metavar="NAME", help=BACKBONE_HELP)
    chosen = parser.parse(arguments)
    folder = _folder(chosen.folder)  # before what takes seconds to import

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections
    from darkroom.drift import words
    from darkroom.drift.check import find_drift
    from darkroom.drift.page import check_ending, write_page
    from darkroom.drift.table import check_ending as check_table
    from darkroom.drift.table import write_table

    ignore_variables()
    for path, check in ((chosen.out, check_table), (chosen.sheet, check_ending)):
        if path is not None:
            check(path)
    params = load_sections(paths.PARAMS, "base", "split", "predict", "train", "hardware")

    from darkroom.api.named_model import open_model

    has_model = chosen.model is not None or (paths.MODELS / "model.json").is_file()
    opening = (lambda: open_model(chosen.model, params, "predict")) if has_model else None
    drift = find_drift(folder, params, opening, chosen.backbone)
    _show(drift)
    for path, write in ((chosen.out, write_table), (chosen.sheet, write_page)):
        if path is not None:
            write(path, drift)
            print(f"drift: {len(drift.paths)} photos -> {path}")
    print(f"drift: {words.answer(drift)}", flush=True)
    if chosen.out is None and chosen.sheet is None:
        suggest("drift: which photos these are: '--out photos.csv' writes a table, '--sheet drift.html' shows them")
    if chosen.gate and drift.judgement.is_drift:
        sys.exit(1)


def _show(drift: "Drift") -> None:
    """Print what each test found, and what was left out."""
    from darkroom.drift import words
    from darkroom.experiments.text import table

    print(*table([words.row(drift, each) for each in drift.judgement.findings], words.HEADER), sep="\n")
    print(*(f"drift: {note}" for note in [*drift.notes, words.foreign(drift)]), sep="\n")


def _folder(given: Path) -> Path:
    folder = given.expanduser().absolute()
    if not folder.is_dir():
        raise InputError(f"{given}: {'is no folder' if folder.exists() else 'does not exist'}; name a folder of photos")
    return folder
