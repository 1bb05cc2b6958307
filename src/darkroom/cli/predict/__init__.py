"""./darkroom predict: classes and probabilities of images, on the terminal or in a file of the user's."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.api.named_model import MODEL_HELP
from darkroom.base.errors import InputError
from darkroom.base.nested import outputs_of, read_stages
from darkroom.cli import parser_of, suggest
from darkroom.cli.predict.features import add_arguments, check_arguments, near_rows, predict_nearest, write_embeddings

if TYPE_CHECKING:
    from darkroom.models.saving import Published
    from darkroom.reporting.predictions import Predictions

SHOWN = 20


def main(arguments: list[str]) -> None:
    """Print predictions as a table, or write them to a file."""
    parser = parser_of(
        "predict",
        f"It prints a table of the first {SHOWN} images, or writes all to a file. "
        "'dvc repro predict' records predictions in data/predictions.",
        examples=[
            "./darkroom predict photo.jpg",
            "./darkroom predict photo.jpg folder/ --out result.csv",
            "./darkroom predict photo.jpg --model models/checkpoints/epoch_0003",
            "./darkroom predict photo.jpg --model my-experiment",
            "./darkroom predict photo.jpg --model classifier@prod",
            "./darkroom predict photo.jpg --nearest 5",
            "./darkroom predict folder/ --embeddings --out features.parquet",
            "./darkroom predict folder/ --embeddings --backbone pretrained --out features.parquet",
            "./darkroom predict photo.jpg --nearest 5 --among features.parquet",
        ],
    )
    parser.add_argument(
        "images", nargs="*", metavar="PATH", help="images, or folders of them (default: params.yaml: predict.input)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a .csv, .jsonl or .parquet file, not a table")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models)")
    add_arguments(parser)
    chosen = parser.parse(arguments)
    check_arguments(chosen)

    from darkroom.api.named_model import open_model
    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections
    from darkroom.reporting.predictions import check_out, write_predictions

    ignore_variables()
    if chosen.out is not None:
        check_out(chosen.out)
        check_place(chosen.out)
    params = load_sections(paths.PARAMS, "base", "predict", "hardware")

    inputs = chosen.images or [paths.ROOT / params.predict.input]

    def model() -> "Published":
        return open_model(chosen.model, params, "predict")

    if chosen.embeddings:
        count = write_embeddings(chosen, inputs, model, params)
        print(f"predict: {count} images -> {chosen.out}")
        return
    if chosen.nearest is not None:
        predictions = predict_nearest(chosen, inputs, model, params)
    else:
        from darkroom.inference.inputs import predict_inputs

        predictions = predict_inputs(inputs, model, params)
    if chosen.out is None:
        print(*table_lines(predictions, params.predict.top_k), sep="\n")
        suggest("predict: nothing was written; '--out result.csv' writes the table to a file")
    else:
        write_predictions(chosen.out, predictions, params.predict.top_k)
        print(f"predict: {len(predictions.paths)} images -> {chosen.out}")


def check_place(out: Path, option: str = "--out") -> None:
    """Refuse a file among the outputs of stages, which DVC removes, or records as what a stage made.

    Raises
    ------
    InputError
        Naming the folder.
    """
    from darkroom.base import paths

    place = out.resolve()
    folders = [paths.ROOT / out for stage in read_stages(paths.PIPELINE).values() for out in outputs_of(stage)]
    for folder in (*folders, paths.MODELS):
        if place.is_relative_to(folder.resolve()):
            raise InputError(f"{option}: {out} is in {paths.shown(folder)}, which stages write; name a file elsewhere")


def table_lines(predictions: "Predictions", top_k: int) -> Iterator[str]:
    """Yield a table of the first images: path, true class where it is known, classes with their probabilities."""
    from darkroom.data.listing import printable
    from darkroom.experiments.text import table

    top_k = min(top_k, len(predictions.classes))
    next_ones = [cell for place in range(2, top_k + 1) for cell in (f"class {place}", "")]
    header = ["path", *(["true"] if predictions.actual else []), *(["classes"] if predictions.multilabel else [])]
    rows = []
    for number, top in zip(range(SHOWN), predictions.most_probable(top_k), strict=False):
        cells = [predictions.paths[number]]
        cells += [printable(predictions.actual[number])] if predictions.actual else []
        if predictions.multilabel:
            cells.append(printable("; ".join(predictions.chosen[number]) or "none"))
        shown = [cell for name, value in top for cell in (printable(name), f"{value:.4f}")]
        if why := predictions.why(number) if top else []:
            kind = " (foreign)" if "foreign" in why else ""
            shown[0] = f"{predictions.named(number, top[0][0])}{kind}: {shown[0]}?"
        shown += [f"{predictions.foreign[number]:.2f}"] if predictions.foreign is not None else []
        shown += [printable("; ".join(predictions.set_of(number)) or "none")] if predictions.sets is not None else []
        rows += near_rows(cells + shown, predictions.near[number]) if predictions.near else [cells + shown]
    header += ["class", "probability", *next_ones] if predictions.classes else []
    header += ["foreign"] if predictions.foreign is not None else []
    header += ["set"] if predictions.sets is not None else []
    yield from table(rows, [*header, *(["nearest", "its class", "similarity"] if predictions.near else [])])
    more = len(predictions.paths) - SHOWN
    if more > 0:
        yield f"... and {more} more; write all of them to a file with '--out result.csv'"
