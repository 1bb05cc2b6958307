"""A prediction that is written: part by part, from where a killed run of the same command ended."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError, Interrupted
from darkroom.batch.accuracy import Right
from darkroom.batch.blocks import Block, Blocks
from darkroom.batch.parts import Parts, Total, images_of_part, parts_beside
from darkroom.prediction.predictions import WRITERS, Predictions
from darkroom.sources.progress import progress_bar

# Those that compute pixels and probabilities.
PACKAGES = ("torch", "timm", "numpy", "pillow", "simplejpeg")


def check_format(file_format: str | None) -> None:
    """Refuse a format that is unknown."""
    if file_format is not None and f".{file_format}" not in WRITERS:
        known = ", ".join(name.lstrip(".") for name in WRITERS)
        raise InputError(f"--format: is {file_format}, but should be one of {known}; give one of them")


def predict_to_file(out: Path, blocks: Blocks, further: dict[str, Any]) -> Total:
    """Write predictions to one file, through parts in a folder beside it.

    Parameters
    ----------
    out
        A .csv, .jsonl or .parquet file.
    blocks
        The model and its predictions.
    further
        What else the results depend on.

    Returns
    -------
    total
        What was predicted, also by a run that was killed.

    Raises
    ------
    InputError
        If an unfinished run of other inputs, or with another model or setting, is there.
    """
    with _writing(parts_beside(out), out.suffix.lower(), blocks, further) as parts:
        total = parts.total
        if total.nothing_was_read:
            parts.discard()  # what was there before stays
        else:
            parts.join(out)
    return total


def predict_to_folder(folder: Path, ending: str, blocks: Blocks, further: dict[str, Any]) -> Total:
    """Write predictions to a folder of parts; as `predict_to_file`."""
    with _writing(folder, ending, blocks, further) as parts:
        return parts.total


@contextmanager
def _writing(folder: Path, ending: str, blocks: Blocks, further: dict[str, Any]) -> Iterator[Parts]:
    """Yield the parts when they are complete."""
    size = images_of_part(blocks.params.predict.batch_size, len(blocks.predictor.model.card.classes))
    with Parts(folder, ending, about_run(blocks, {**further, "images_of_part": size})) as parts:
        try:
            if not parts.is_complete:
                _go_on(parts, blocks, size)
        except Interrupted as error:
            kept = f"the {parts.total.images} images of {len(parts.done)} parts are kept, and the same command goes on from there"
            raise Interrupted(error.number, kept if parts.done else "nothing was recorded, run the same command again") from None
        yield parts


def _go_on(parts: Parts, blocks: Blocks, size: int) -> None:
    """Write the parts that are missing."""
    predictor, top_k = blocks.predictor, blocks.params.predict.top_k
    total, start = blocks.inputs.total(predictor), parts.total.images
    if parts.done:
        print(f"predict: goes on after {start} images of {len(parts.done)} parts in {parts.folder}", file=sys.stderr, flush=True)
        predictor.precision = parts.precision or predictor.precision
        blocks.prepare()
    with progress_bar("predict", total) as advance:
        advance(start)
        waiting, count = list[Block](), 0
        for block in blocks.iterate(start):
            waiting.append(block)
            count += len(block)
            advance(len(block))
            if blocks.inputs.in_parts and count >= size:
                parts.precision = predictor.precision
                _write(parts, waiting, top_k)
                waiting, count = [], 0
        parts.precision = predictor.precision
        if waiting or not parts.done:
            _write(parts, waiting, top_k)
    parts.finish()


def _write(parts: Parts, blocks: list[Block], top_k: int) -> None:
    predictions = Predictions.joined([block.predictions for block in blocks])
    total = Right.total(block.right for block in blocks)
    parts.add(predictions, [each for block in blocks for each in block.bad], total, top_k)


def about_run(blocks: Blocks, further: dict[str, Any]) -> dict[str, Any]:
    """Return what the results depend on: the model, the settings, the inputs, and what computes them to the last bit."""
    from importlib.metadata import version

    import torch

    from darkroom.hardware.devices import machine

    predictor, predict = blocks.predictor, blocks.params.predict
    card, calibration = predictor.model.card, predictor.model.calibration
    seen = json.dumps([card.classes, card.task, card.preprocessing.model_dump(mode="json")], sort_keys=True)
    settings = predict.model_dump(mode="json", exclude={"input", "embeddings", "max_bad"})
    return {
        "model": {
            "weights_sha256": card.weights_sha256,
            "classes_and_preprocessing_sha256": hashlib.sha256(seen.encode()).hexdigest(),
            "calibration_sha256": None if calibration is None else hashlib.sha256(calibration).hexdigest(),
        },
        "settings": {**settings, **further},
        "input_sha256": blocks.inputs.digest,
        "computed_by": {
            **machine(predictor.hardware),
            "threads": torch.get_num_threads(),
            **{name: version(name) for name in PACKAGES},
            **{name: value for name, value in predictor.record.items() if name != "precision"},
        },
    }
