"""./darkroom predict: classes and probabilities of images, on the terminal or in a file of the user's."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError
from darkroom.cli import parser_of

if TYPE_CHECKING:
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
        ],
    )
    parser.add_argument(
        "images", nargs="*", metavar="PATH", help="images, or folders of them (default: params.yaml: predict.input)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a .csv, .jsonl or .parquet file, not a table")
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder of a model.json (default: models)")
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.params_file import load_params
    from darkroom.reporting.predictions import check_out, write_predictions

    if chosen.out is not None:
        check_out(chosen.out)
        check_place(chosen.out)
    params = load_params(paths.PARAMS)

    from darkroom.inference.inputs import predict_inputs

    predictions = predict_inputs(chosen.images or [paths.ROOT / params.predict.input], chosen.model or paths.MODELS, params)
    if chosen.out is None:
        print(*table_lines(predictions, params.predict.top_k), sep="\n")
    else:
        write_predictions(chosen.out, predictions, params.predict.top_k)
        print(f"predict: {len(predictions.paths)} images -> {chosen.out}")


def check_place(out: Path) -> None:
    """Refuse a file among the outputs of stages, which DVC removes, or records as what a stage made.

    Raises
    ------
    InputError
        Naming the folder.
    """
    from darkroom.base import paths
    from darkroom.base.params_file import read_yaml

    place = out.resolve()
    listed = [out for stage in read_yaml(paths.PIPELINE)["stages"].values() for out in stage.get("outs", [])]
    folders = [paths.ROOT / (next(iter(out)) if isinstance(out, dict) else out) for out in listed]
    for folder in (*folders, paths.MODELS):
        if place.is_relative_to(folder.resolve()):
            raise InputError(f"--out: {out} is in {paths.shown(folder)}, which stages write; name a file elsewhere")


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
        rows.append(cells + [cell for name, value in top for cell in (printable(name), f"{value:.4f}")])
    yield from table(rows, [*header, "class", "probability", *next_ones])
    more = len(predictions.paths) - len(rows)
    if more > 0:
        yield f"... and {more} more; write all of them to a file with '--out result.csv'"
