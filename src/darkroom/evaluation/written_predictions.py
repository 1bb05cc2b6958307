"""Keeping what a model predicts, image by image, while it predicts: metrics/predictions.parquet. N images, K classes."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from darkroom.base.params import Params
from darkroom.data.labels import Labels
from darkroom.data.pack import Pack, Rows
from darkroom.inference.predictor import Predictor
from darkroom.metrics.outcomes import Predicted
from darkroom.metrics.predictions_file import GIVEN, About
from darkroom.metrics.predictions_writer import ImagesOf, PredictionsWriter


class Images(NamedTuple):
    """Labelled images to measure a model on: rows of a pack, and their labels as the model numbers its classes."""

    pack: Pack
    rows: Rows
    labels: Labels


class PredictionsFile:
    """Writes metrics/predictions.parquet while a model predicts; use it in a `with` statement.

    The file begins with how the probabilities are computed, which is known when the first of them are.
    """

    def __init__(self, path: Path, predictor: Predictor, params: Params, parts: Mapping[str, Images]):
        self.path, self.predictor, self.params, self.parts = path, predictor, params, parts
        self._stack = ExitStack()
        self._writer: PredictionsWriter | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Finish the file."""
        self._stack.__exit__(*error)

    def add(self, name: str, start: int, batch: Predicted) -> None:
        """Write a batch of a part whose first image has the place `start`."""
        if self._writer is None:
            self._writer = self._stack.enter_context(PredictionsWriter(self.path, self._about()))
        each = self.parts[name]
        rows = each.rows[start : start + len(batch.labels)]
        self._writer.add(name, described(each.pack, rows, batch.labels), batch.probabilities, batch.losses)

    def _about(self) -> About:
        card, evaluate = self.predictor.model.card, self.params.evaluate
        how = {
            "weights_sha256": card.weights_sha256,
            "data_sha256": card.data_sha256,
            **evaluate.model_dump(include={"batch_size", "tta", "backend", "precision"}),
            "record": self.predictor.record,
        }
        return About(card.classes, card.task, self.predictor.decision, _columns(self.parts), how)


def described(pack: Pack, rows: Rows, labels: Labels) -> ImagesOf:
    """Return what the file of predictions says of rows of a pack, which have these labels."""
    given = pack.extra(rows)
    columns: dict[str, list[str | None]] = {"group": [pack.groups[row] for row in rows]}
    columns |= {
        GIVEN + name: [each.get(name) for each in given] for name in dict.fromkeys(name for each in given for name in each)
    }
    return ImagesOf([pack.ids[row] for row in rows], [pack.pixel_hashes[row] for row in rows], labels, columns)


def _columns(parts: Mapping[str, Images]) -> tuple[str, ...]:
    """Return the names of the columns beside that any image has."""
    given = dict.fromkeys(name for each in parts.values() for extra in each.pack.extra(each.rows) for name in extra)
    has_groups = any(each.pack.groups[row] is not None for each in parts.values() for row in each.rows)
    return (*(["group"] if has_groups else []), *(GIVEN + name for name in given))
