"""Predictions of the test split, or of images from files, for the stage predict and for `./darkroom predict`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.base import files, paths
from darkroom.base.params import Params
from darkroom.data.labels import names
from darkroom.data.listing import printable
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.inference.calibrated import make_rule, read_calibration
from darkroom.inference.photos import PhotoReader, Photos, find_photos, without_arrays
from darkroom.reporting.predictions import Predictions

if TYPE_CHECKING:
    from darkroom.metrics.predictions_file import EvaluatedSplit

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
    """Predict the images that training never saw, without the network where evaluate has computed the same."""
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    rows = split.rows["test"]
    ids = [pack.ids[row] for row in rows]
    known: dict[str, Any] = {"paths": ids, "actual": names(pack.labels[rows], pack.classes), "given": pack.extra(rows)}
    if isinstance(model, Path):
        from darkroom.inference.evaluated import evaluated_test_split

        hashes = {"raw": files.sha256(paths.RAW / "dataset.json"), "split": split.sha256}
        evaluated = evaluated_test_split(paths.EVALUATED, model, params.predict, hashes, ids)
        taken = None if evaluated is None else _taken_over(evaluated, model, params)
        if taken is not None:
            return Predictions(**known, **taken)

    from darkroom.inference.predict import predict_rows
    from darkroom.inference.predictor import Predictor
    from darkroom.models.model_json import data_hashes

    predictor = Predictor.load(model, params, "predict")
    predictor.model.check_data(data_hashes(paths.RAW, split))
    embedder = _make_embedder(predictor, params)
    how = params.predict.model_dump(include={"batch_size", "tta"}) | ({"passing": embedder.passing} if embedder else {})
    return Predictions(**known, **_predicted(predictor, predict_rows(predictor, pack, rows, **how), embedder, params))


def _taken_over(evaluated: "EvaluatedSplit", model: Path, params: Params) -> dict[str, Any] | None:
    """Return probabilities that evaluate computed, and all else that `Predictions` says of them; None if features are needed."""
    name, about = paths.shown(model), evaluated.about
    rule = make_rule(
        params.predict,
        read_calibration(model, name),
        name=name,
        weights_sha256=about.how["weights_sha256"],
        task=about.task,
        positive=about.decision.positive,
    )
    if rule.needs_features:
        return None
    kind = {"classes": about.classes, "multilabel": rule.multilabel, "decision": rule.decision}
    return {**kind, "backend": {**about.how["record"], **rule.record}, **rule.predicted(evaluated.probabilities)}


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
    passing = {"passing": embedder.passing} if embedder else {}
    predicted = _predicted(predictor, predict_photos(predictor, photos, tta=params.predict.tta, **passing), embedder, params)
    photos.check(params.predict.max_bad)
    shown = [printable(paths.shown(path)) for path in photos.read]
    return Predictions(paths=shown, **predicted)


def _make_embedder(predictor: Any, params: Params) -> Any:
    if not (params.predict.embeddings or predictor.rule.needs_features):
        return None
    from darkroom.inference.embeddings import Embedder

    return Embedder(predictor)


def _predicted(predictor: Any, probabilities: Any, embedder: Any, params: Params) -> dict[str, Any]:
    """Return what `Predictions` says of probabilities (N, K) and of the features that an embedder recorded."""
    features = embedder.result() if embedder else None
    embeddings = features if params.predict.embeddings else None
    return {**predictor.rule.predicted(probabilities, features), "embeddings": embeddings, **predictor.about}
