"""Stage predict, and `python src/predict.py photo.jpg folder/ --out result.csv`: classes and probabilities of pictures."""

import argparse
from pathlib import Path

from darkroom import files, paths
from darkroom.errors import run_command
from darkroom.params import load_params


def main() -> None:
    """Run the stage, or predict the pictures named on the command line."""
    parser = argparse.ArgumentParser(description="Predict the classes of pictures with the published model.")
    parser.add_argument("pictures", nargs="*", type=Path, help="pictures or folders of them; none: predict.input of params.yaml")
    parser.add_argument("--out", type=Path, help="a .csv, .jsonl or .parquet file; none: all three in data/predictions")
    arguments = parser.parse_args()
    params = load_params(paths.PARAMS)

    from darkroom.reporting.predictions import WRITERS, check_out, write_predictions

    if arguments.out:
        check_out(arguments.out)

    from darkroom.training.inference import predict_photos, predict_test_split
    from darkroom.training.published import load_model

    model = load_model(paths.MODELS, params)
    chosen = arguments.pictures or [paths.ROOT / params.predict.input]
    predictions = predict_test_split(model, params) if chosen == [paths.SPLIT] else predict_photos(model, chosen, params)
    if arguments.out:
        write_predictions(arguments.out, predictions, params.predict.top_k)
    else:
        with files.replaced_dir(paths.PREDICTIONS) as directory:
            for ending in WRITERS:
                write_predictions(directory / f"predictions{ending}", predictions, params.predict.top_k)
    print(f"predict: {len(predictions.paths)} pictures in {arguments.out or paths.shown(paths.PREDICTIONS)}")


if __name__ == "__main__":
    run_command(main)
