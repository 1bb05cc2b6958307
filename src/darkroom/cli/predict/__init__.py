"""./darkroom predict: classes and probabilities of images, on the terminal or in files of the user's."""

from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.api.named_model import MODEL_HELP
from darkroom.base.errors import InputError, counted
from darkroom.cli import parser_of, suggest
from darkroom.cli.predict.features import (
    add_arguments,
    check_arguments,
    iterate_backbone,
    iterate_with_features,
    with_features,
    write_embeddings,
)
from darkroom.cli.predict.table import SHOWN, print_predictions, table_lines
from darkroom.outputs.marks import UNREADABLE
from darkroom.outputs.rule import check_file, check_no_input

if TYPE_CHECKING:
    from darkroom.base.params import Params
    from darkroom.batch.blocks import Blocks, Unreadable
    from darkroom.batch.options import Options
    from darkroom.models.saving import Published
    from darkroom.outputs.parser import CommandParser
    from darkroom.prediction.predictions import Predictions

INPUTS = (
    "images, folders of them, 'globs/**/*.jpg', archives (.zip, .tar, .tar.gz), tables with a column of paths (.csv, .jsonl, "
    ".parquet), addresses (https://, s3://), camera:0, @LIST with a path in each line, or - for such a list on standard input "
    "(default: params.yaml: predict.input)"
)


def main(arguments: list[str]) -> None:
    """Print predictions as a table, or write them to files."""
    parser = _parser()
    chosen = parser.parse(arguments)
    named = chosen.out
    chosen.out = None if named is None else Path(named)
    chosen.folder = named is not None and (named.endswith("/") or chosen.out.is_dir())
    check_arguments(chosen)

    from darkroom.api.named_model import open_model
    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections
    from darkroom.batch.options import Options

    ignore_variables()
    options = Options(chosen.top_k, _threshold(chosen.threshold), chosen.temperature, chosen.unknown)
    options.check()
    _check_places(chosen)
    params = load_sections(paths.PARAMS, "base", "download", "predict", "hardware")
    inputs = chosen.images or [paths.ROOT / params.predict.input]
    if chosen.out is None:  # no more are predicted than are shown
        few = {"batch_size": min(params.predict.batch_size, SHOWN)}
        params = params.model_copy(update={"predict": params.predict.model_copy(update=few)})

    def model() -> "Published":
        return open_model(chosen.model, params, "predict")

    if chosen.backbone is not None:
        _use_backbone(chosen, iterate_backbone(chosen, inputs, params), params.predict.top_k)
        return
    blocks = _open(chosen, inputs, model, params, options)
    if chosen.embeddings:
        print(f"predict: {counted(write_embeddings(chosen.out, iterate_with_features(blocks)), 'image')} -> {chosen.out}")
        unreadable: Unreadable = (0, None)  # of embeddings nothing is written then
    else:
        unreadable = print_predictions(blocks) if chosen.out is None else _write(chosen, blocks)
    if chosen.sheet is not None:
        _write_sheet(chosen.sheet, blocks)
    if chosen.out is None:
        suggest("predict: nothing was written; '--out result.csv' writes the table to a file")

    from darkroom.batch.blocks import check_unreadable

    check_unreadable(*unreadable, params.predict.max_bad)


def _parser() -> "CommandParser":
    parser = parser_of(
        "predict",
        f"It prints a table of the first {SHOWN} images, or writes all to a file, or to a folder in parts. Killed or "
        "interrupted, the same command goes on where it was. 'dvc repro predict' records predictions in data/predictions.",
        examples=[
            "./darkroom predict photo.jpg",
            "./darkroom predict photo.jpg folder/ --out result.csv",
            "./darkroom predict 'photos/**/*.jpg' --out results/ --format parquet",
            "find photos -name '*.jpg' | ./darkroom predict - --out result.csv",
            "./darkroom predict labels.csv --out result.csv --sheet result.html",
            "./darkroom predict photos.zip https://host/photo.jpg s3://bucket/photos",
            "./darkroom predict photo.jpg --model models/checkpoints/epoch_0003",
            "./darkroom predict photo.jpg --model my-experiment",
            "./darkroom predict photo.jpg --model classifier@prod",
            "./darkroom predict photo.jpg --nearest 5",
            "./darkroom predict folder/ --embeddings --out features.parquet",
            "./darkroom predict folder/ --embeddings --backbone pretrained --out features.parquet",
            "./darkroom predict photo.jpg --nearest 5 --among features.parquet",
        ],
    )
    parser.add_argument("images", nargs="*", metavar="PATH", help=INPUTS)
    parser.add_output(
        "--out",
        other=_other,
        may_be_file=True,
        type=str,
        metavar="PLACE",
        help="write a .csv, .jsonl or .parquet file, or a folder of parts (name/)",
    )
    parser.add_argument("--format", metavar="FORMAT", help="of parts: csv, jsonl or parquet (default: parquet)")
    parser.add_output("--sheet", metavar="FILE", help="show the first images on a sheet (.png) or a page (.html)")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models)")
    parser.add_argument("--top-k", type=int, metavar="K", help="most probable classes to write (default: predict.top_k)")
    parser.add_argument("--threshold", metavar="P", help="of several labels or a positive class: a number, or 'fitted'")
    parser.add_argument("--temperature", type=float, metavar="T", help="divides the logits (default: the calibrated one)")
    parser.add_argument(
        "--unknown", type=float, metavar="P", help="the class is 'unknown' where its probability is lower; 0: never"
    )
    add_arguments(parser)
    return parser


def _other(folder: Path) -> str | None:
    from darkroom.batch.started import other_file

    return other_file(folder)


def _threshold(text: str | None) -> float | str | None:
    if text is None or text == "fitted":
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--threshold: is {text!r}, but should be a number or 'fitted'; correct it") from None


def _check_places(chosen: Namespace) -> None:
    """Refuse what cannot be written, before anything is computed for it."""
    from darkroom.batch.parts import parts_beside, unreadable_beside
    from darkroom.batch.run import check_format
    from darkroom.batch.sheet import check_ending
    from darkroom.batch.started import read_started
    from darkroom.prediction.predictions import check_out

    if chosen.format is not None and not chosen.folder:
        raise InputError("--format: is that of the parts in a folder; give --out results/, or name a file by its ending")
    if chosen.folder:
        check_format(chosen.format)
        read_started(chosen.out, f".{chosen.format or 'parquet'}")
    elif chosen.out is not None:
        check_out(chosen.out)
        if not chosen.embeddings and chosen.backbone is None:
            check_no_input(unreadable_beside(chosen.out), "--out", chosen.images)
            check_file(unreadable_beside(chosen.out), "--out", "./darkroom predict", UNREADABLE)
            read_started(parts_beside(chosen.out), chosen.out.suffix.lower())
    if chosen.sheet is not None:
        check_ending(chosen.sheet)


def _open(
    chosen: Namespace, inputs: Sequence[str | Path], model: "Callable[[], Published]", params: "Params", options: "Options"
) -> "Blocks":
    from darkroom.batch.inputs import find_inputs

    found = find_inputs(inputs, params)

    from darkroom.batch.blocks import open_blocks

    flag = "--embeddings" if chosen.embeddings else "--nearest"
    asked = (flag, "name another model") if chosen.embeddings or chosen.nearest is not None else None
    return with_features(chosen, open_blocks(found, model, params, options, asked=asked))


def _write(chosen: Namespace, blocks: "Blocks") -> "Unreadable":
    """Write a file, or a folder of parts, say what is in it, and return how many images cannot be read, with the first."""
    from darkroom.base import files
    from darkroom.batch.accuracy import accuracy_lines
    from darkroom.batch.blocks import check_unreadable
    from darkroom.batch.parts import unreadable_beside
    from darkroom.batch.run import predict_to_file, predict_to_folder

    further = {"nearest": chosen.nearest, "temperature": chosen.temperature, "unknown": chosen.unknown}
    further["among_sha256"] = None if chosen.among is None else files.sha256(chosen.among)
    if chosen.folder:
        total = predict_to_folder(chosen.out, f".{chosen.format or 'parquet'}", blocks, further)
        listed = str(chosen.out / "_unreadable-*.csv")
    else:
        total = predict_to_file(chosen.out, blocks, further)
        listed = str(unreadable_beside(chosen.out))
    if total.nothing_was_read:
        check_unreadable(total.unreadable, total.first_bad, 0)
    print(f"predict: {counted(total.images - total.unreadable, 'image')} -> {chosen.out}")
    for line in accuracy_lines(total.right, blocks.predictor.model.card.classes):
        print(f"predict: {line}")
    if total.unreadable:
        print(f"predict: {counted(total.unreadable, 'image')} cannot be read -> {listed}")
    return total.unreadable, total.first_bad


def _write_sheet(sheet: Path, blocks: "Blocks") -> None:
    from darkroom.batch.sheet import write_sheet

    write_sheet(sheet, blocks)
    print(f"predict: sheet of the first images in {sheet}")


def _use_backbone(chosen: Namespace, parts: "Iterator[Predictions]", top_k: int) -> None:
    """Write or print what a pretrained network says of images: features, or the nearest images."""
    from darkroom.prediction.predictions import Predictions, write_predictions

    if chosen.embeddings:
        print(f"predict: {counted(write_embeddings(chosen.out, parts), 'image')} -> {chosen.out}")
        return
    predictions = Predictions.joined(list(parts))
    if chosen.out is None:
        print(*table_lines(predictions, top_k), sep="\n")
    else:
        write_predictions(chosen.out, predictions, top_k)
        print(f"predict: {counted(len(predictions.paths), 'image')} -> {chosen.out}")
