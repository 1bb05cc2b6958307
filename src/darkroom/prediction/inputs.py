"""Predictions of the test split, or of images from files, for the stage predict and for `./darkroom predict`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from darkroom.base import files, paths
from darkroom.base.params import Params
from darkroom.data.labels import names
from darkroom.data.listing import printable
from darkroom.data.pack import Pack, Rows
from darkroom.data.split_file import Split
from darkroom.inference.calibrated import make_rule, read_calibration
from darkroom.inference.photos import PhotoReader, Photos
from darkroom.prediction.embeddings_file import Embeddings, FeaturesOf, writing_embeddings
from darkroom.prediction.find_photos import find_photos, without_arrays
from darkroom.prediction.predictions import Predictions

if TYPE_CHECKING:
    from darkroom.inference.predictor import Predictor

Model = Path | Callable[[], Any]
"""Folder of a published model, or what returns a `Published`: torch, which that needs, takes seconds to import."""


def predict_inputs(chosen: Sequence[str | Path], model: Model, params: Params, embeddings: Path | None = None) -> Predictions:
    """Predict images with a model, as `predict` of params.yaml says.

    Parameters
    ----------
    chosen
        Images and folders of them, or data/split alone for its test split.
    model
        Its folder, or a function that opens it.
    params
        All of params.yaml.
    embeddings
        File for their features before the last layer; None: they are not computed.

    Raises
    ------
    InputError
        If one of the images, or the model, does not exist or cannot be read.
    """
    if embeddings is not None:
        with writing_embeddings(embeddings) as writer:
            parts = []
            for part in open_inputs(chosen, model, params, asked=("params.yaml: predict.embeddings", "set it to false")).parts:
                writer.add(part)
                parts.append(replace(part, embeddings=None))
        return Predictions.joined(parts)
    taken_over = _taken_over(model, params) if is_test_split(chosen) and isinstance(model, Path) else None
    return taken_over or Predictions.joined(list(open_inputs(chosen, model, params).parts))


@dataclass(frozen=True)
class Opened:
    """A model, and its predictions for images: batch by batch, as they are computed, and at least one."""

    predictor: "Predictor"
    parts: Iterator[Predictions]


def open_inputs(chosen: Sequence[str | Path], model: Model, params: Params, *, asked: tuple[str, str] | None = None) -> Opened:
    """Open a model, and return its predictions as `predict_inputs` makes them.

    Parameters
    ----------
    chosen, model, params
        As those of `predict_inputs`.
    asked
        The key or flag that asks for embeddings, and the way out; None: nothing does.
    """
    return (_open_test_split if is_test_split(chosen) else _open_files)(chosen, model, params, asked)


def is_test_split(chosen: Sequence[str | Path]) -> bool:
    """Return whether data/split alone is named, which stands for its test split."""
    return len(chosen) == 1 and bool(str(chosen[0])) and Path(chosen[0]).resolve() == paths.SPLIT.resolve()


def read_test_split() -> tuple[Pack, Split, list[str]]:
    """Return data/raw, data/split, and the ids of the test images."""
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    return pack, split, [pack.ids[row] for row in split.rows["test"]]


def described_rows(pack: Pack, rows: Rows) -> dict[str, Any]:
    """Return what is known of rows of the pack, for `Predictions`."""
    ids = [pack.ids[row] for row in rows]
    return {"paths": ids, "actual": names(pack.labels[rows], pack.classes), "given": pack.extra(rows)}


def _taken_over(model: Path, params: Params) -> Predictions | None:
    """Return the test split as evaluate has predicted it; None if predict would compute other numbers."""
    from darkroom.prediction.evaluated import evaluated_test_split

    pack, split, ids = read_test_split()
    hashes = {"raw": files.sha256(paths.RAW / "dataset.json"), "split": split.sha256}
    evaluated = evaluated_test_split(paths.EVALUATED, model, params.predict, hashes, ids)
    if evaluated is None:
        return None
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
    kind: dict[str, Any] = {"classes": about.classes, "multilabel": rule.multilabel, "decision": rule.decision}
    how = {"backend": {**about.how["record"], **rule.record}, **rule.predicted(evaluated.probabilities)}
    return Predictions(**described_rows(pack, split.rows["test"]), **kind, **how)


def _open_test_split(_: Sequence[str | Path], model: Model, params: Params, asked: tuple[str, str] | None) -> Opened:
    """Predict the images that training never saw."""
    pack, split, _ids = read_test_split()
    rows = split.rows["test"]

    from darkroom.inference.predict import iterate_rows
    from darkroom.inference.predictor import Predictor
    from darkroom.models.model_json import data_hashes

    predictor = Predictor.load(model, params, "predict")
    predictor.model.check_data(data_hashes(paths.RAW, split))
    how = params.predict.model_dump(include={"batch_size", "tta"})

    def compute(passing: Any) -> Any:
        return iterate_rows(predictor, pack, rows, **how, passing=passing)

    return Opened(predictor, _described(predictor, compute, lambda start, end: described_rows(pack, rows[start:end]), asked))


def _open_files(chosen: Sequence[str | Path], model: Model, params: Params, asked: tuple[str, str] | None) -> Opened:
    """Predict images from files; they are looked for before torch is imported, which takes seconds."""
    found = find_photos(chosen)

    from darkroom.inference.predict import iterate_photos
    from darkroom.inference.predictor import Predictor

    predictor = Predictor.load(model, params, "predict")
    if predictor.seen.bands is None:
        found = without_arrays(found, chosen)
    photos = Photos(found, params.predict, PhotoReader.of(predictor.seen, predictor.preprocess))

    def compute(passing: Any) -> Any:
        yield from iterate_photos(predictor, photos, tta=params.predict.tta, passing=passing)
        photos.check(params.predict.max_bad)

    def named(start: int, end: int) -> dict[str, Any]:
        return {"paths": [printable(paths.shown(path)) for path in photos.read[start:end]]}

    return Opened(predictor, _described(predictor, compute, named, asked))


def _described(
    predictor: "Predictor",
    compute: Callable[[Any], Iterable[Any]],
    named: Callable[[int, int], dict[str, Any]],
    asked: tuple[str, str] | None,
) -> Iterator[Predictions]:
    """Yield the predictions of each batch.

    Parameters
    ----------
    predictor
        The model.
    compute
        Returns probabilities (n, K) batch by batch, given what sees the batches on their way to the network.
    named
        What is known of the images from one number to another.
    asked
        What asks for embeddings.
    """
    describing = Describing(predictor, asked)
    done = 0
    for probabilities in compute(describing.passing):
        end = done + len(probabilities)
        yield describing.described(probabilities, named(done, end))
        done = end
    if not done:
        yield describing.described(np.zeros((0, len(predictor.model.card.classes))), named(0, 0))


class Describing:
    """From the probabilities of a batch to predictions.

    Parameters
    ----------
    predictor
        The model.
    asked
        The key or flag that asks for embeddings, and the way out; None: nothing does.
    """

    def __init__(self, predictor: "Predictor", asked: tuple[str, str] | None = None):
        self.predictor, self.asked = predictor, asked
        needed = asked is not None or predictor.rule.needs_features
        self._embedder = _make_embedder(predictor, asked) if needed else None

    def passing(self, images: Iterable[Any]) -> Iterable[Any]:
        """Return batches (n, C, H, W) on their way to the network, after recording their features where these are needed."""
        passed: Iterable[Any] = self._embedder.passing(images) if self._embedder else images
        return passed

    def described(self, probabilities: Any, known: dict[str, Any]) -> Predictions:
        """Return the predictions of images that have passed, with probabilities (n, K); `known` are further fields."""
        features = self._embedder.result() if self._embedder else None
        predicted = self.predictor.rule.predicted(probabilities, features)
        embeddings = None
        if self.asked and self._embedder and features is not None:
            embeddings = Embeddings(features, features_of(self.predictor, pooled=self._embedder.pooled))
        return Predictions(**known, **predicted, embeddings=embeddings, **self.predictor.about)


def features_of(predictor: "Predictor", *, pooled: bool = False) -> FeaturesOf:
    """Return what the features of a model are of."""
    model = predictor.model
    return FeaturesOf(model.name, type(model.network.network).__name__, model.card.weights_sha256, pooled)


def _make_embedder(predictor: Any, asked: tuple[str, str] | None) -> Any:
    from darkroom.inference.embeddings import ASKED, Embedder

    return Embedder(predictor, asked or ASKED)
