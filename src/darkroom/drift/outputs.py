"""What a model says of validation images and of photos: confidence and classes, by which deployed models are watched."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.drift.measured import Outputs
from darkroom.inference.photos import PhotoReader, Photos

if TYPE_CHECKING:
    from darkroom.inference.predict import Probabilities
    from darkroom.inference.predictor import Predictor
    from darkroom.models.saving import Published

FEWEST_VAL = 20


def model_outputs(
    open_model: "Callable[[], Published]", pack: Pack, split: Split, rows: Rows, photos: Sequence[Path], params: Params
) -> tuple[Outputs, Outputs]:
    """Return what a model says of rows of `val`, and of photos that can be read.

    Raises
    ------
    InputError
        If it was trained on other data: images of `val` could be among those that it was trained on.
    """
    from darkroom.inference.predict import predict_photos, predict_rows
    from darkroom.inference.predictor import Predictor
    from darkroom.models.model_json import data_hashes

    predictor = Predictor.load(open_model, params, "predict")
    hashes = data_hashes(paths.RAW, split)
    for name, recorded in predictor.model.card.data_sha256.items():
        if hashes.get(name) != recorded:
            raise InputError(
                f"{predictor.model.name}: was trained on another data/{name}, whose validation images are needed; "
                "run 'dvc repro', or name another with --model"
            )
    how = params.predict.model_dump(include={"batch_size", "tta"})
    known = predict_rows(predictor, pack, rows, **how)
    reader = PhotoReader.of(predictor.seen, predictor.preprocess)
    new = predict_photos(predictor, Photos(photos, params.predict, reader), tta=params.predict.tta)
    if len(new) != len(photos):
        raise InputError(
            f"{predictor.model.name}: cannot read {len(photos) - len(new)} of the photos; remove other kinds of files"
        )
    return _outputs(predictor, known), _outputs(predictor, new)


def _outputs(predictor: "Predictor", probabilities: "Probabilities") -> Outputs:
    if predictor.model.multilabel:
        # Of the least certain decision on a class.
        confidence = np.maximum(probabilities, 1 - probabilities).min(axis=1)
        return Outputs(confidence, np.zeros(len(probabilities), np.int64))
    decision = predictor.decision
    return Outputs(decision.confidence(probabilities), decision.label(probabilities).astype(np.int64))
