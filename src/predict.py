"""Stage predict, and `python src/predict.py photo.jpg folder/ --out result.csv`: classes and probabilities of pictures."""

import argparse
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from darkroom import paths
from darkroom.data.labels import names
from darkroom.data.listing import printable
from darkroom.data.pack import Pack
from darkroom.data.photos import Photos, find_photos
from darkroom.data.splits import Split
from darkroom.errors import run_command
from darkroom.params import Params
from darkroom.params_file import load_params
from darkroom.reporting.predictions import Predictions, check_out, write_all, write_predictions
from darkroom.workspace import running


def main() -> None:
    """Run the stage, or predict the pictures named on the command line."""
    parser = argparse.ArgumentParser(description="Predict the classes of pictures with the published model.")
    parser.add_argument("pictures", nargs="*", help="pictures or folders of them; none: predict.input of params.yaml")
    parser.add_argument("--out", type=Path, help="a .csv, .jsonl or .parquet file; none: all three in data/predictions")
    parser.add_argument("--model", type=Path, default=paths.MODELS, help="with --out: folder of another model than models")
    arguments = parser.parse_args()
    check_out(arguments.out, needed=arguments.model != paths.MODELS)
    # Whoever predicts into a file of their own may do so while a stage is at work.
    with nullcontext() if arguments.out else running("predict") as stage:
        params = load_params(paths.PARAMS)
        chosen = arguments.pictures or [paths.ROOT / params.predict.input]
        predict = predict_test_split if chosen == [paths.SPLIT] else partial(predict_photos, chosen)
        predictions = predict(params, arguments.model)
        if stage is None:
            write_predictions(arguments.out, predictions, params.predict.top_k)
        else:
            with stage.replaced_dir(paths.PREDICTIONS) as directory:
                write_all(directory, predictions, params.predict.top_k)
    print(f"predict: {len(predictions.paths)} pictures -> {arguments.out or paths.shown(paths.PREDICTIONS)}")


def predict_test_split(params: Params, folder: Path) -> Predictions:
    """Predict the pictures that training never saw."""
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)

    from darkroom.training.inference import predict_rows
    from darkroom.training.published import data_hashes, load_model

    model = load_model(folder, params, paths.shown(folder))
    model.check_data(data_hashes(paths.RAW, split))
    rows = split.rows["test"]
    probabilities = predict_rows(model, pack, rows, params.hardware, **params.predict.model_dump(include={"batch_size", "tta"}))
    ids, actual = [pack.ids[row] for row in rows], names(pack.labels[rows], pack.classes)
    return Predictions(model.card.classes, ids, probabilities, actual, pack.extra(rows), multilabel=model.multilabel)


def predict_photos(chosen: list[str | Path], params: Params, folder: Path) -> Predictions:
    """Predict pictures from files."""
    found = find_photos(chosen)

    from darkroom.training import inference
    from darkroom.training.published import load_model

    model = load_model(folder, params, paths.shown(folder))
    photos = Photos(found, params.predict, **model.card.preprocessing.model_dump(include={"image_size", "channels", "resize"}))
    probabilities = inference.predict_photos(model, photos, params.hardware, tta=params.predict.tta)
    photos.check(params.predict.max_bad)
    shown = [printable(paths.shown(path)) for path in photos.read]
    return Predictions(model.card.classes, shown, probabilities, multilabel=model.multilabel)


if __name__ == "__main__":
    run_command(main)
