"""Predictions of the test split, or of images from files, for the stage predict and for `./darkroom predict`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom.base import paths
from darkroom.base.params import Params
from darkroom.data.labels import names
from darkroom.data.listing import printable
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.inference.photos import PhotoReader, Photos, find_photos, without_arrays
from darkroom.reporting.predictions import Predictions


def predict_inputs(chosen: Sequence[str | Path], folder: Path, params: Params) -> Predictions:
    """Predict images with the model in a folder, as `predict` of params.yaml says.

    Parameters
    ----------
    chosen
        Images and folders of them, or data/split alone for its test split.
    folder
        Of the model.
    params
        All of params.yaml.

    Raises
    ------
    InputError
        If one of the images, or the model, does not exist or cannot be read.
    """
    if len(chosen) == 1 and str(chosen[0]) and Path(chosen[0]).resolve() == paths.SPLIT.resolve():
        return predict_test_split(folder, params)
    return predict_files(chosen, folder, params)


def predict_test_split(folder: Path, params: Params) -> Predictions:
    """Predict the images that training never saw."""
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)

    from darkroom.inference.predict import predict_rows
    from darkroom.inference.predictor import Predictor
    from darkroom.models.model_json import data_hashes

    predictor = Predictor.load(folder, params, "predict")
    predictor.model.check_data(data_hashes(paths.RAW, split))
    rows = split.rows["test"]
    embedder = _make_embedder(predictor, params)
    how = params.predict.model_dump(include={"batch_size", "tta"}) | ({"passing": embedder.passing} if embedder else {})
    probabilities = predict_rows(predictor, pack, rows, **how)
    embeddings = embedder.result() if embedder else None
    ids, actual = [pack.ids[row] for row in rows], names(pack.labels[rows], pack.classes)
    return Predictions(
        paths=ids, probabilities=probabilities, actual=actual, given=pack.extra(rows), embeddings=embeddings, **predictor.about
    )


def predict_files(chosen: Sequence[str | Path], folder: Path, params: Params) -> Predictions:
    """Predict images from files; they are looked for before torch is imported, which takes seconds."""
    found = find_photos(chosen)

    from darkroom.inference.predict import predict_photos
    from darkroom.inference.predictor import Predictor

    predictor = Predictor.load(folder, params, "predict")
    seen = predictor.seen
    if seen.bands is None:
        found = without_arrays(found, chosen)
    same = {name: getattr(seen, name) for name in ("image_size", "channels", "resize", "way", "dtype", "bands")}
    photos = Photos(found, params.predict, PhotoReader(**same, preprocess=predictor.preprocess))
    embedder = _make_embedder(predictor, params)
    probabilities = predict_photos(
        predictor, photos, tta=params.predict.tta, **({"passing": embedder.passing} if embedder else {})
    )
    embeddings = embedder.result() if embedder else None
    photos.check(params.predict.max_bad)
    shown = [printable(paths.shown(path)) for path in photos.read]
    return Predictions(paths=shown, probabilities=probabilities, embeddings=embeddings, **predictor.about)


def _make_embedder(predictor: Any, params: Params) -> Any:
    if not params.predict.embeddings:
        return None
    from darkroom.inference.embeddings import Embedder

    return Embedder(predictor)
