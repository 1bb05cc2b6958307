"""Stage predict, and `python src/predict.py photo.jpg folder/ --out result.csv`: classes and probabilities of images."""

import argparse
from contextlib import nullcontext
from pathlib import Path

from darkroom import paths
from darkroom.command import run_command
from darkroom.data.labels import names
from darkroom.data.listing import printable
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.inference.photos import Photos, find_photos
from darkroom.params import Params
from darkroom.params_file import load_params
from darkroom.reporting.predictions import Predictions, check_out, write_all, write_predictions
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage, or predict the images named on the command line."""
    parser = argparse.ArgumentParser(description="Predict the classes of images with the published model.")
    parser.add_argument("images", nargs="*", help="images or folders of them; none: predict.input of params.yaml")
    parser.add_argument("--out", type=Path, help="a .csv, .jsonl or .parquet file; none: all three in data/predictions")
    parser.add_argument("--model", type=Path, default=paths.MODELS, help="with --out: folder of another model than models")
    arguments = parser.parse_args()
    check_out(arguments.out, needed=arguments.model != paths.MODELS)
    # Whoever predicts into a file of their own may do so while a stage is at work.
    with nullcontext() if arguments.out else running("predict") as stage:
        params = load_params(paths.PARAMS)
        chosen = arguments.images or [paths.ROOT / params.predict.input]
        given = (params, arguments.model)
        predictions = predict_test_split(*given) if chosen == [paths.SPLIT] else predict_photos(*given, chosen)
        if stage is None:
            write_predictions(arguments.out, predictions, params.predict.top_k)
        else:
            with stage.replaced_dir(paths.PREDICTIONS) as directory:
                write_all(directory, predictions, params.predict.top_k)
    print(f"predict: {len(predictions.paths)} images -> {arguments.out or paths.shown(paths.PREDICTIONS)}")


def predict_test_split(params: Params, folder: Path) -> Predictions:
    """Predict the images that training never saw."""
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)

    from darkroom.inference import predict
    from darkroom.inference.predictor import Predictor
    from darkroom.models import card

    predictor = Predictor.load(folder, params, "predict")
    predictor.model.check_data(card.data_hashes(paths.RAW, split))
    rows = split.rows["test"]
    probabilities = predict.predict_rows(predictor, pack, rows, **params.predict.model_dump(include={"batch_size", "tta"}))
    ids, actual = [pack.ids[row] for row in rows], names(pack.labels[rows], pack.classes)
    return Predictions(paths=ids, probabilities=probabilities, actual=actual, given=pack.extra(rows), **predictor.about)


def predict_photos(params: Params, folder: Path, chosen: list[str | Path]) -> Predictions:
    """Predict images from files."""
    found = find_photos(chosen)

    from darkroom.inference import predict
    from darkroom.inference.predictor import Predictor

    predictor = Predictor.load(folder, params, "predict")
    seen = predictor.model.card.preprocessing.model_dump(include={"image_size", "channels", "resize"})
    photos = Photos(found, params.predict, **seen)
    probabilities = predict.predict_photos(predictor, photos, tta=params.predict.tta)
    photos.check(params.predict.max_bad)
    shown = [printable(paths.shown(path)) for path in photos.read]
    return Predictions(paths=shown, probabilities=probabilities, **predictor.about)


if __name__ == "__main__":
    run_command(main)
