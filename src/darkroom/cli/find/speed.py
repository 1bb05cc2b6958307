"""./darkroom find speed: how fast the model and its exports are, and how accurate. Writes a table and a chart."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.api.named_model import MODEL_HELP, open_model
from darkroom.base.errors import InputError, RunError
from darkroom.outputs.parser import CommandParser
from darkroom.outputs.rule import check_folder, other_table

if TYPE_CHECKING:
    from darkroom.base.params import Params
    from darkroom.export.speed_table import Measured

COMMAND = "./darkroom find speed"
SECONDS, BATCH_SIZES = 60.0, "1,8,32"
LARGEST = 4096


def main(arguments: list[str]) -> None:
    """Measure, print the table, and write it."""
    chosen = _parser().parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections

    sizes = _batch_sizes(chosen.batch_sizes)
    if not (math.isfinite(chosen.seconds) and chosen.seconds > 0):
        raise InputError(f"--seconds: is {chosen.seconds:g}, but should be more than 0, such as 60")
    out = paths.SPEED_METRICS if chosen.out is None else chosen.out
    check_folder(out, "--out", COMMAND, _other)
    folders = _folders(chosen.exported)
    ignore_variables()
    measured = _measure(
        chosen.model, load_sections(paths.PARAMS, "base", "train", "predict", "hardware"), folders, sizes, chosen.seconds
    )

    from darkroom.experiments.text import table
    from darkroom.export.speed_table import SHOWN, write

    if not measured.timings:
        raise RunError(f"find: nothing was measured in {chosen.seconds:g} s; give --seconds {math.ceil(4 * chosen.seconds)}")
    print(*table(measured.cells(), SHOWN), sep="\n")
    facts = measured.facts
    counts = f"{facts['parameters'] / 1e6:.3g} M parameters, {facts['multiply_adds'] / 1e6:.3g} M multiply-adds an image"
    print(f"find: {counts}, {facts['threads']} thread(s), images of {facts['image_size']} pixels")
    missing = sorted({form.name for form in measured.forms} - {each.form for each in measured.timings})
    if missing:
        print(f"find: {', '.join(missing)}: had no time for five runs; give more --seconds")
    write(out, measured)
    print(f"find: table and chart in {paths.shown(out)}")
    if len(measured.forms) == 1:
        print("find: there is no export; './darkroom export --format onnx' writes one to compare")


def _measure(name: str | None, params: "Params", folders: list[Path], sizes: list[int], seconds: float) -> "Measured":
    from darkroom.base import paths
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    pack.withhold(split.rows["test"])

    from darkroom.export.export import make_exporter
    from darkroom.export.measuring import measure

    predictor, tta = make_exporter(lambda: open_model(name, params, "predict"), params)
    return measure(predictor, tta, pack, split.rows["val"], folders, sizes, seconds)


def _batch_sizes(text: str) -> list[int]:
    """Return the numbers of images in a batch."""
    sizes = [int(each) for each in text.split(",") if each.strip().isdecimal()]
    if len(sizes) != text.count(",") + 1 or not all(1 <= size <= LARGEST for size in sizes):
        raise InputError(
            f"--batch-sizes: is '{text}', but should be numbers from 1 to {LARGEST} with commas, such as {BATCH_SIZES}"
        )
    return sorted(set(sizes))


def _folders(named: list[Path] | None) -> list[Path]:
    """Return the folders of exports: those that are named, or all that are there."""
    from darkroom.base import paths

    if named is None:
        there = sorted(paths.EXPORTED.glob("*")) if paths.EXPORTED.is_dir() else []
        return [each for each in (*there, Path("exported")) if (each / "about.json").is_file()]
    for each in named:
        if not (each / "about.json").is_file():
            raise InputError(f"--exported: {each} holds no export (about.json); run './darkroom export --out {each}'")
    return named


def _other(out: Path) -> str | None:
    """Return the name of something in a folder among which the table would not be found, or which it would replace."""
    others = [each.name for each in out.iterdir()]
    if others and "speed.csv" not in others:
        return min(others)
    return other_table(COMMAND, out)


def _parser() -> CommandParser:
    parser = CommandParser(
        COMMAND,
        "Measure how fast the model answers, as it is (eager) and as its exports, by batch size, in turns: latency, images/s, "
        "memory, size, accuracy on validation. Exports are those of the stage, in models/exported, and those of './darkroom "
        "export', in exported. Images have the network's size, and as many threads compute as in training.",
        examples=[
            "./darkroom find speed",
            "./darkroom export --format onnx --format openvino && ./darkroom find speed",
            "./darkroom find speed --batch-sizes 1,64 --seconds 300",
        ],
    )
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models)")
    parser.add_argument(
        "--exported",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="folder of an export; may be given several times (default: models/exported/*, exported)",
    )
    parser.add_argument("--batch-sizes", default=BATCH_SIZES, metavar="N,N,…", help=f"images in a batch (default: {BATCH_SIZES})")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        metavar="S",
        help=f"of timing, beside accuracy and memory (default: {SECONDS:g})",
    )
    parser.add_output("--out", other=_other, metavar="FOLDER", help="for speed.csv and speed.png (default: metrics/speed)")
    return parser
