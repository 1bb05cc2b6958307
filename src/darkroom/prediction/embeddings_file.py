"""Features of images before a network's last layer as a Parquet file. No torch. N images, D features."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.metrics.predictions_file import numbers
from darkroom.prediction.predictions import Predictions, parquet_columns

FORMAT = 1
METADATA = b"darkroom"
COLUMN = "embedding"
# A group of rows is held in memory, by who writes and by who reads.
MOST_ROWS, MOST_BYTES = 10_000, 16_000_000


class FeaturesOf(NamedTuple):
    """What features are of: written to the file, and compared before features of two files are.

    Attributes
    ----------
    model
        Name of the model, or of the backbone.
    network
        Name of the network.
    weights_sha256
        Hash of its weights; of a backbone of all that its features depend on.
    pooled
        Whether they are means over the places of the last layer's input, which is a map.
    unit_length
        Whether they are divided by their length.
    """

    model: str
    network: str
    weights_sha256: str
    pooled: bool = False
    unit_length: bool = False


class Embeddings(NamedTuple):
    """Features (N, D) float32 of images, and what they are of."""

    values: NDArray[np.float32]
    of: FeaturesOf


class EmbeddingsWriter:
    """Writes the file batch by batch; at most one group of rows is in memory.

    Parameters
    ----------
    path
        The file, which is overwritten.

    Attributes
    ----------
    count : int
        Images written.
    """

    def __init__(self, path: Path):
        self.path, self.count = path, 0
        self._file: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._rows = MOST_ROWS

    def add(self, predictions: Predictions) -> None:
        """Write a row for each of the images, which must have embeddings."""
        table = _table(predictions)
        if self._file is None:
            size = table.schema.field(COLUMN).type.list_size
            self._rows = max(1, min(MOST_ROWS, MOST_BYTES // (4 * size)))
            how = {"compression": "zstd", "use_dictionary": ["class"], "write_page_checksum": True}
            self._file = pq.ParquetWriter(self.path, table.schema, **how)
        self.count += len(table)
        # Groups of rows depend on the number of images alone, not on how many came together.
        while len(table):
            rest = self._rows - sum(map(len, self._waiting))
            self._waiting.append(table.slice(0, rest))
            table = table.slice(rest)
            if rest <= len(self._waiting[-1]):
                self._write_group()

    def close(self) -> None:
        """Finish the file."""
        self._write_group()
        if self._file is not None:
            self._file.close()

    def _write_group(self) -> None:
        if self._waiting and self._file is not None:
            self._file.write_table(pa.concat_tables(self._waiting).combine_chunks(), row_group_size=self._rows)
        self._waiting = []


@contextmanager
def writing_embeddings(path: Path) -> Iterator[EmbeddingsWriter]:
    """Yield a writer whose file replaces `path` when the block succeeds; if it fails, nothing is written."""
    with files.replaced_file(path) as temporary:
        writer = EmbeddingsWriter(temporary)
        try:
            yield writer
        finally:
            writer.close()


def _table(predictions: Predictions) -> pa.Table:
    assert predictions.embeddings is not None
    values, of = predictions.embeddings
    size = values.shape[1] or 1  # of no images, whose number of features nothing has told
    columns = parquet_columns(predictions)
    columns[COLUMN] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), size)
    described = {"format": FORMAT, **of._asdict(), "num_features": size}
    return pa.table(columns, metadata={METADATA: json.dumps(described, ensure_ascii=False).encode()})


class EmbeddingsFile:
    """Features that `EmbeddingsWriter` wrote, read block by block.

    Parameters
    ----------
    path
        The file.
    where
        What names it, for messages: a flag or a key.

    Attributes
    ----------
    of : FeaturesOf
        What they are of.
    num_features : int
        D.

    Raises
    ------
    InputError
        If it does not exist, or is no such file.
    """

    def __init__(self, path: Path, where: str):
        self.path, self.where = path, where
        if not path.is_file():
            raise InputError(f"{where}: {path} does not exist; write it with './darkroom predict --embeddings --out {path}'")
        with self._damage():
            with self._open() as file:
                schema, self.count = file.schema_arrow, file.metadata.num_rows
            if METADATA not in (schema.metadata or {}):
                raise ValueError("it does not say of which network they are")
            described = json.loads(schema.metadata[METADATA])
            if described.pop("format") != FORMAT:
                raise ValueError("it has a format that this version does not know")
            self.num_features = int(described.pop("num_features"))
            self.of = FeaturesOf(**described)
            if schema.field(COLUMN).type != pa.list_(pa.float32(), self.num_features):
                raise ValueError(f"its column {COLUMN} is not of {self.num_features} numbers")
            self.names = set(schema.names)

    def __len__(self) -> int:
        return int(self.count)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the features (n, D) of a group of rows at a time, in order.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        with self._damage(), self._open() as file:
            for number in range(file.num_row_groups):
                column = file.read_row_group(number, columns=[COLUMN])[COLUMN].combine_chunks()
                yield numbers(column.flatten()).reshape(-1, self.num_features)

    def column(self, name: str) -> list[Any]:
        """Return a column that describes the images, N values."""
        with self._damage(), self._open() as file:
            values: list[Any] = file.read(columns=[name])[name].to_pylist()
        return values

    def labels(self) -> list[str]:
        """Return the class of each image as text: the true one where it is known, else the predicted one, else none."""
        for name in ("actual", "classes", "class"):
            if name in self.names:
                return ["; ".join(each) if isinstance(each, list) else each for each in self.column(name)]
        return [""] * len(self)

    def _open(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.path, page_checksum_verification=True)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            advice = "write it again with './darkroom predict --embeddings'"
            raise InputError(f"{self.where}: {self.path}: holds no embeddings of this program ({error}); {advice}") from None
