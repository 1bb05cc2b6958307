"""Predictions of the test split, or of images from files, for the stage predict and for `./darkroom predict`."""

from collections.abc import Callable, Sequence
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

Model = Path | Callable[[], Any]
"""Folder of a published model, or what returns a `Published`: torch, which that needs, takes seconds to import."""


def predict_inputs(chosen: Sequence[str | Path], model: Model, params: Params) -> Predictions:
    """Predict images with a model, as `predict` of params.yaml says.

    Parameters
    ----------
    chosen
        Images and folders of them, or data/split alone for its test split.
    model
        Its folder, or a function that opens it.
    params
        All of params.yaml.

    Raises
    ------
    InputError
        If one of the images, or the model, does not exist or cannot be read.
    """
    if len(chosen) == 1 and str(chosen[0]) and Path(chosen[0]).resolve() == paths.SPLIT.resolve():
        return predict_test_split(model, params)
    return predict_files(chosen, model, params)


def predict_test_split(model: Model, params: Params) -> Predictions:
    """Predict the images that training never saw."""
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)

    from darkroom.inference.predict import predict_rows
    from darkroom.inference.predictor import Predictor
    from darkroom.models.model_json import data_hashes

    predictor = Predictor.load(model, params, "predict")
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


def predict_files(chosen: Sequence[str | Path], model: Model, params: Params) -> Predictions:
    """Predict images from files; they are looked for before torch is imported, which takes seconds."""
    found = find_photos(chosen)

    from darkroom.inference.predict import predict_photos
    from darkroom.inference.predictor import Predictor

    predictor = Predictor.load(model, params, "predict")
    if predictor.seen.bands is None:
        found = without_arrays(found, chosen)
    photos = Photos(found, params.predict, PhotoReader.of(predictor.seen, predictor.preprocess))
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
