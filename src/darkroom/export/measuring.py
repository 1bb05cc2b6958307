"""All that `find speed` says of a model and its exports: opened, compared with the labels, and measured. N images, K classes."""

import json
import pickle
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.data.pack import Pack, Rows
from darkroom.data.resizing import with_channels
from darkroom.export.export import evenly, size_of
from darkroom.export.formats import FORMATS, Run
from darkroom.export.network import make_exported
from darkroom.export.parity import run_each, stored_images
from darkroom.export.quantised import is_right
from darkroom.export.speed import Accuracy, Form, measure_times, open_eager, open_form, peak_memory
from darkroom.export.speed_table import Measured
from darkroom.inference.photos import PhotoReader
from darkroom.inference.predict import predict_images
from darkroom.inference.predictor import Predictor
from darkroom.models import size

# Images of validation that accuracy is measured on at most.
JUDGED = 1000
EAGER = "eager"


def measure(
    predictor: Predictor, tta: str, pack: Pack, rows: Rows, folders: Sequence[Path], sizes: Sequence[int], seconds: float
) -> Measured:
    """Measure a model and its exports.

    Parameters
    ----------
    predictor
        The model as predict computes it.
    tta
        As `predict.tta`.
    pack, rows
        Images of validation.
    folders
        Of exports.
    sizes
        Of batches.
    seconds
        Of timing in all.

    Raises
    ------
    InputError
        If an export is that of another model, or of other parameters.
    """
    files = {name: path for folder in folders for name, path in _files(folder, predictor, tta)}
    rows, threads = evenly(rows, JUDGED), torch.get_num_threads()
    image = PhotoReader.of(predictor.seen, predictor.preprocess).prepare(next(stored_images(pack, rows[:1])))
    counted = size.measure(predictor.model.network.cpu(), torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None])
    weights = sum(each.numel() * each.element_size() for each in predictor.model.network.state_dict().values())
    content = pickle.dumps(make_exported(predictor, tta))
    forms = [Form(EAGER, _eager(predictor, tta), partial(open_eager, content, threads), weights)]
    for name, path in files.items():
        opener = partial(open_form, name, path, threads)
        forms.append(Form(name, opener(), opener, size_of(path)))
    accuracies = {form.name: _accuracy(form, predictor, pack, rows) for form in forms}
    shown = with_channels(image, 3)
    batch = np.ascontiguousarray(np.stack([shown] * max(sizes)))
    memory = {form.name: peak_memory(form.open, batch) for form in forms}
    timings = measure_times(forms, shown, sizes, seconds)
    facts = {
        "parameters": counted.parameters,
        "multiply_adds": counted.multiply_adds,
        "threads": threads,
        "image_size": "x".join(map(str, dict.fromkeys(predictor.seen.shape))),
        "tta": tta,
        "weights_sha256": predictor.model.card.weights_sha256,
    }
    return Measured(forms, timings, accuracies, memory, facts)


def _files(folder: Path, predictor: Predictor, tta: str) -> Iterator[tuple[str, Path]]:
    """Yield the formats and files of an export, of this model as predict computes it."""
    place = paths.shown(folder)
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        weights, views = about["weights_sha256"], about.get("tta", "none")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{place}/about.json: is damaged; run './darkroom export' again") from None
    again = f"run './darkroom export --out {place}', or 'dvc repro export' for models/exported"
    if weights != predictor.model.card.weights_sha256:
        raise InputError(f"{place}: is an export of another model than {predictor.model.name}; {again}")
    if views != tta:
        raise InputError(f"{place}: was exported with predict.tta {views}, which is {tta} now; {again}")
    for name, each in FORMATS.items():
        path = folder / f"model{each.ending}"
        if path.is_file():
            each.check(name)
            yield name, path


def _eager(predictor: Predictor, tta: str) -> Run:
    """Return what predicts as the stage predict does, with torch."""

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[Any], ...]:
        probabilities = predict_images(predictor, list(images), batch_size=len(images), tta=tta)
        return (predictor.rule.predicted(probabilities, None)["probabilities"],)

    return run


def _accuracy(form: Form, predictor: Predictor, pack: Pack, rows: Rows) -> Accuracy:
    found = run_each(form.run, stored_images(pack, rows))[0]
    return Accuracy.of(is_right(found, pack.labels[rows], predictor.decision, multilabel=predictor.model.multilabel))
