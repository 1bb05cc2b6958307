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
from darkroom.export.parity import Parity, compare, run_each, stored_images
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor

# Images that are compared.
COMPARED = 200
SCRIPT, PARITY = "classify.py", "parity.json"


@dataclass(frozen=True)
class Written:
    """A file that was written and compared."""

    path: Path
    num_bytes: int
    parity: Parity


def export_model(predictor: Predictor, pack: Pack, rows: Rows, formats: list[str], out: Path) -> list[Written]:
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

    Raises
    ------
    InputError
        If a format cannot hold the model, or answers otherwise than it.
    """
    rows = rows[np.linspace(0, len(rows) - 1, num=min(COMPARED, len(rows))).astype(int)]
    wanted = predictor.rule.predicted(predict_rows(predictor, pack, rows, batch_size=32))["probabilities"]
    network, known, images = make_exported(predictor), about(predictor), stored_images(pack, rows)
    found = []
    with files.replaced_dir(out) as folder:
        for name in formats:
            path = folder / f"model{FORMATS[name].ending}"
            write(name, network, known, path)
            probabilities = run_each(FORMATS[name].open(path), images)
            parity = compare(wanted, probabilities, predictor.decision, multilabel=predictor.model.multilabel)
            if parity.other_decisions:
                raise InputError(
                    f"--format: {name} decides otherwise than the model on {parity.other_decisions} of {parity.images} images, "
                    f"by up to {parity.largest_difference:.2g} of a probability; nothing was written; name another format"
                )
            size = sum(each.stat().st_size for each in folder.glob(f"{path.stem}.*") if each.suffix in (path.suffix, ".bin"))
            found.append(Written(out / path.name, size, parity))
        files.write_json(folder / PARITY, {name: each.parity.record() for name, each in zip(formats, found, strict=True)})
        files.write_text(folder / "about.json", json.dumps(known, ensure_ascii=False, indent=2) + "\n")
        if "onnx" in formats:
            files.write_text(folder / SCRIPT, Path(standalone.__file__).read_text(encoding="utf-8"))
    return found
