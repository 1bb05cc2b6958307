"""Writing metrics/predictions.parquet, batch by batch. No torch. N images, K classes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.metrics.decision import Labels, Rounded
from darkroom.metrics.per_image import Floats, cross_entropy
from darkroom.metrics.predictions_file import FORMAT, METADATA, About

# Of more classes than all probabilities are written of: the most probable ones.
KEPT = 20
# Rows that are compressed, and read, together.
ROWS_OF_GROUP = 10_000


class ImagesOf(NamedTuple):
    """Images that were predicted, N of them: their ids, pixel hashes, labels as in `LabelledPredictions`, and columns beside."""

    ids: Sequence[str]
    pixel_hashes: Sequence[bytes]
    labels: Labels
    columns: Mapping[str, Sequence[str | None]]


class PredictionsWriter:
    """Writes the file batch by batch; use it in a `with` statement."""

    def __init__(self, path: Path, about: About):
        self.about = about
        label = pa.list_(pa.int32()) if about.task == "multilabel" else pa.int32()
        self._schema = pa.schema(
            {
                "split": pa.string(),
                "id": pa.string(),
                "pixel_hash": pa.binary(),
                "label": label,
                "predicted": label,
                "confidence": pa.float64(),
                "loss": pa.float64(),
                "probabilities": pa.list_(pa.float32(), len(about.classes)) if about.is_complete else pa.list_(pa.float32()),
                **({} if about.is_complete else {"kept": pa.list_(pa.int32())}),
                **dict.fromkeys(about.columns, pa.string()),
            },
            metadata={METADATA: _metadata(about)},
        )
        self._file = pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=["split", *about.columns])
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> "PredictionsWriter":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the file."""
        self._write_group()
        self._file.close()

    def add(
        self,
        split: str,
        images: ImagesOf,
        probabilities: Rounded,
        losses: Floats | None = None,
    ) -> None:
        """Write a row for each of N images of a split, with probabilities (N, K), and losses (N,) if they are known."""
        decision, labels = self.about.decision, images.labels
        if self.about.task == "multilabel":
            chosen = decision.chosen(probabilities)
            confidence = np.where(chosen, probabilities, 1 - probabilities).min(axis=1)
            named, predicted = _listed(labels), _listed(chosen)
        else:
            confidence = decision.confidence(probabilities)
            named, predicted = labels.astype(np.int32), decision.label(probabilities).astype(np.int32)
        columns: dict[str, Any] = {
            "split": [split] * len(images.ids),
            "id": images.ids,
            "pixel_hash": images.pixel_hashes,
            "label": named,
            "predicted": predicted,
            "confidence": confidence,
            "loss": cross_entropy(probabilities.astype(np.float64), labels) if losses is None else losses,
            **self._kept(probabilities, labels),
            **{name: images.columns.get(name) or [None] * len(images.ids) for name in self.about.columns},
        }
        arrays = [
            each if isinstance(each, pa.Array) else pa.array(each, self._schema.field(name).type)
            for name, each in columns.items()
        ]
        # Groups of rows depend on the number of images alone, not on how many came together.
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        while len(table):
            rest = ROWS_OF_GROUP - sum(map(len, self._waiting))
            self._waiting.append(table.slice(0, rest))
            table = table.slice(rest)
            if rest <= len(self._waiting[-1]):
                self._write_group()

    def _write_group(self) -> None:
        if self._waiting:
            self._file.write_table(pa.concat_tables(self._waiting).combine_chunks(), row_group_size=ROWS_OF_GROUP)
            self._waiting = []

    def _kept(self, probabilities: Rounded, labels: Labels) -> dict[str, Any]:
        """Return the column of probabilities, and if they are not complete that of the classes which they belong to."""
        values = probabilities.astype(np.float32, copy=False)
        if self.about.is_complete:
            return {"probabilities": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])}
        kept = np.zeros(probabilities.shape, np.bool_)
        top = np.argpartition(-probabilities, KEPT - 1, axis=1)[:, :KEPT]
        np.put_along_axis(kept, top, values=True, axis=1)
        if labels.ndim == 2:
            kept |= labels > 0
        else:
            np.put_along_axis(kept, labels[:, None], values=True, axis=1)
        ends = pa.array(np.concatenate([[0], np.cumsum(kept.sum(axis=1))]), pa.int32())
        return {
            "probabilities": pa.ListArray.from_arrays(ends, pa.array(values[kept])),
            "kept": pa.ListArray.from_arrays(ends, pa.array(np.nonzero(kept)[1].astype(np.int32))),
        }


def _metadata(about: About) -> bytes:
    described = {
        "format": FORMAT,
        "classes": about.classes,
        "task": about.task,
        "threshold": about.decision.threshold,
        "positive": about.decision.positive,
        "columns": about.columns,
        "how": dict(about.how),
    }
    return json.dumps(described, ensure_ascii=False).encode()


def _listed(chosen: NDArray[Any]) -> pa.ListArray:
    """Return the labels that are 1 in each row of (N, K)."""
    rows, labels = np.nonzero(chosen)
    ends = np.searchsorted(rows, np.arange(len(chosen) + 1))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(labels.astype(np.int32)))
