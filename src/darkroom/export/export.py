"""Writing a model in a format, compared with itself before it counts as written. H by W pixels."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.data.pack import Pack, Rows
from darkroom.export import standalone
from darkroom.export.formats import FORMATS, write
from darkroom.export.network import about, make_exported
from darkroom.export.parity import Outputs, Parity, compare, run_each, stored_images
from darkroom.inference.embeddings import Embedder
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor

# Images that are compared.
COMPARED = 200
# Of the largest feature; other kernels round otherwise.
MOST_DIFFERENT = 1e-3
SCRIPT, PARITY = "classify.py", "parity.json"


@dataclass(frozen=True)
class Written:
    """A file that was written and compared."""

    path: Path
    num_bytes: int
    parity: Parity


def export_model(
    predictor: Predictor, pack: Pack, rows: Rows, formats: list[str], out: Path, *, tta: str = "none"
) -> list[Written]:
    """Write a model to a folder, in each of the formats, and compare each with the model.

    Parameters
    ----------
    predictor
        The model as predict computes it.
    pack, rows
        Images to compare on: those of validation.
    formats
        Names in `FORMATS`.
    out
        The folder, which is replaced as a whole.
    tta
        As `predict.tta`.

    Raises
    ------
    InputError
        If a format cannot hold the model, or answers otherwise than it.
    """
    rows = rows[np.linspace(0, len(rows) - 1, num=min(COMPARED, len(rows))).astype(int)]
    wanted = _wanted(predictor, pack, rows, tta)
    network, known, images = make_exported(predictor, tta), {**about(predictor), "tta": tta}, stored_images(pack, rows)
    found = []
    with files.replaced_dir(out) as folder:
        for name in formats:
            path = folder / f"model{FORMATS[name].ending}"
            write(name, network, known, path)
            found_here = run_each(FORMATS[name].open(path), images)
            parity = compare(wanted, found_here, predictor.decision, multilabel=predictor.model.multilabel)
            _refuse_others(name, parity)
            size = sum(each.stat().st_size for each in folder.glob(f"{path.stem}.*") if each.suffix in (path.suffix, ".bin"))
            found.append(Written(out / path.name, size, parity))
        files.write_json(folder / PARITY, {name: each.parity.record() for name, each in zip(formats, found, strict=True)})
        files.write_text(folder / "about.json", json.dumps(known, ensure_ascii=False, indent=2) + "\n")
        if "onnx" in formats:
            files.write_text(folder / SCRIPT, Path(standalone.__file__).read_text(encoding="utf-8"))
    return found


def _wanted(predictor: Predictor, pack: Pack, rows: Rows, tta: str) -> Outputs:
    """Return what predict and its embeddings are for rows of the pack, as the outputs of an export."""
    try:
        features = Embedder(predictor).of_rows(pack, rows, 32)
    except InputError:
        features = None
    probabilities = predict_rows(predictor, pack, rows, batch_size=32, tta=tta)
    predicted = predictor.rule.predicted(probabilities, features)
    every = (predicted["probabilities"], features, predicted["foreign"])
    return tuple(np.asarray(each, np.float64) for each in every if each is not None)


def _refuse_others(name: str, parity: Parity) -> None:
    """Refuse an export that answers otherwise than the model."""
    if parity.other_decisions:
        raise InputError(
            f"--format: {name} decides otherwise than the model on {parity.other_decisions} of {parity.images} images, "
            f"by up to {parity.largest_difference:.2g} of a probability; nothing was written; name another format"
        )
    if parity.embedding_difference is not None and parity.embedding_difference > MOST_DIFFERENT:
        raise InputError(
            f"--format: {name} has other features than the model, by up to {parity.embedding_difference:.2g} of the largest; "
            "nothing was written; name another format"
        )
