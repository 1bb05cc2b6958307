"""./darkroom evaluate: the metrics of a model, on the terminal alone."""

from pathlib import Path

from darkroom.cli import parser_of


def main(arguments: list[str]) -> None:
    """Print the metrics of the validation and the test split."""
    parser = parser_of(
        "evaluate",
        "It prints the metrics and writes nothing; 'dvc repro evaluate' records them in metrics/evaluate.",
        examples=["./darkroom evaluate", "./darkroom evaluate --model models/checkpoints/epoch_0003"],
    )
    parser.add_argument("--model", type=Path, metavar="DIR", help="folder of a model.json (default: models)")
    folder = parser.parse(arguments).model

    from darkroom.base import paths
    from darkroom.base.params_file import load_params
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    params = load_params(paths.PARAMS)
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)

    from darkroom.inference.evaluate import evaluate_model

    print(*evaluate_model(folder or paths.MODELS, params, pack, split).lines(), sep="\n")
