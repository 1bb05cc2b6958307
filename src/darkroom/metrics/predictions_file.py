"""metrics/predictions.parquet: what evaluate predicted for every image of `val` and `test`. No torch. N images, K classes.

Comparisons, reports and tables are drawn from it, so that they need neither the model nor the images.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.metrics.decision import Decision, Labels

FORMAT = 1
# All probabilities of so many classes are kept.
MAX_CLASSES = 1000
GIVEN = "given_"
METADATA = b"darkroom"


class About(NamedTuple):
    """What the predictions are of.

    Attributes
    ----------
    classes : list of K str
    task
        `multiclass`, `binary` or `multilabel`.
    decision
        Which classes are predicted.
    columns
        Names of the columns beside: `group`, and those of the source with `given_` before their names.
    """

    classes: list[str]
    task: str
    decision: Decision
    columns: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the file has the probabilities of all classes."""
        return len(self.classes) <= MAX_CLASSES


@dataclass(frozen=True)
class EvaluatedSplit:
    """The predictions for the N images of one split.

    Attributes
    ----------
    about : About
    table : table of N rows
        As `PredictionsWriter` writes them.
    """

    about: About
    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    @property
    def classes(self) -> list[str]:
        """The K class names."""
        return self.about.classes

    @property
    def task(self) -> str:
        """The task: `multiclass`, `binary` or `multilabel`."""
        return self.about.task

    @property
    def decision(self) -> Decision:
        """Which classes are predicted."""
        return self.about.decision

    @cached_property
    def ids(self) -> list[str]:
        """The ids of the images."""
        return self._list("id")

    @cached_property
    def pixel_hashes(self) -> list[bytes]:
        """Hashes, equal for equal pixels."""
        return self._list("pixel_hash")

    @cached_property
    def labels(self) -> Labels:
        """The labels, (N,) int64; of a multilabel task (N, K) uint8."""
        return self._labels("label")

    @cached_property
    def predicted(self) -> Labels:
        """The predicted labels, of the same shape."""
        return self._labels("predicted")

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Whether each prediction is correct, (N,); of a multilabel task whether all its classes are."""
        equal: NDArray[np.bool_] = np.equal(self.labels, self.predicted)
        right: NDArray[np.bool_] = np.all(equal, axis=tuple(range(1, equal.ndim)))
        return right

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted class, (N,); of a multilabel task that of the least certain decision on a class."""
        return self._numbers("confidence")

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """The cross entropy of each image in nats, (N,); of a multilabel task its mean over the classes."""
        return self._numbers("loss")

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """Probabilities (N, K); 0 where the file has none, see `About.is_complete`."""
        column, shape = self.table["probabilities"].combine_chunks(), (len(self), len(self.classes))
        values = numbers(column.flatten())
        if self.about.is_complete:
            complete: NDArray[np.float32] = values.reshape(shape)
            return complete
        dense = np.zeros(shape, np.float32)
        lengths = np.diff(numbers(column.offsets))
        dense[np.repeat(np.arange(len(self)), lengths), numbers(self.table["kept"].combine_chunks().flatten())] = values
        return dense

    @property
    def columns(self) -> dict[str, list[str | None]]:
        """The columns beside, by name: `group`, and those of the source with `given_` before their names."""
        return {name: self._list(name) for name in self.about.columns}

    def _list(self, name: str) -> list[Any]:
        values: list[Any] = self.table[name].to_pylist()
        return values

    def _numbers(self, name: str) -> NDArray[np.float64]:
        return numbers(self.table[name].combine_chunks())

    def _labels(self, name: str) -> Labels:
        column = self.table[name].combine_chunks()
        if self.task != "multilabel":
            return numbers(column).astype(np.int64)
        hot = np.zeros((len(self), len(self.classes)), np.uint8)
        hot[np.repeat(np.arange(len(self)), np.diff(numbers(column.offsets))), numbers(column.flatten())] = 1
        return hot


def numbers(array: pa.Array) -> NDArray[Any]:
    """Return numbers without copying; `to_numpy` would import pandas, which takes half a second."""
    return np.from_dlpack(array)


def read_predictions(source: Path | bytes) -> dict[str, EvaluatedSplit]:
    """Read the file, or its content: the predictions of each split, `val` and `test`, by name.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is damaged, or was not written by evaluate.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source) as file:
            table = file.read()
        described = json.loads(table.schema.metadata[METADATA])
        if described.pop("format") != FORMAT:
            raise ValueError("it has a format that this version does not know")
        decision = Decision(described.pop("threshold"), described.pop("positive"))
        about = About(decision=decision, columns=tuple(described.pop("columns")), **described)
        return {name: EvaluatedSplit(about, table.slice(*place)) for name, place in _places(table["split"]).items()}
    except (KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _places(splits: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    """Return the first row of each split, and how many rows it has; they stand one after the other."""
    encoded = splits.combine_chunks().dictionary_encode()
    codes, names = numbers(encoded.indices), encoded.dictionary.to_pylist()
    starts = [int(each) for each in np.flatnonzero(np.diff(codes, prepend=-1))]
    if len(starts) != len(names):
        raise ValueError("its splits do not stand one after the other")
    return {name: (start, end - start) for name, start, end in zip(names, starts, [*starts[1:], len(codes)], strict=True)}
