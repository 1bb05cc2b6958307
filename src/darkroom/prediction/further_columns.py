"""Columns beside the classes in files of predictions: why an image is unknown, and the known images nearest to it. N images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from darkroom.base import files

if TYPE_CHECKING:
    from darkroom.prediction.predictions import Predictions

SEPARATOR = "; "
Near = Sequence[Sequence["Neighbour"]]


class Neighbour(NamedTuple):
    """A known image that is near a predicted one.

    Attributes
    ----------
    name
        Its id, or its path.
    label
        Its class as text; empty if none is known.
    similarity
        Cosine between the features; 1: equal but for their length.
    """

    name: str
    label: str
    similarity: float


def doubt(predictions: "Predictions", number: int | None = None) -> dict[str, Any]:
    """Return why the class of an image is unknown, how foreign it is, and its set; of no image the names alone."""
    found: dict[str, Any] = {}
    if predictions.has_unknown:
        found["why"] = None if number is None else predictions.why(number)
    if predictions.foreign is not None:
        found["foreign"] = None if number is None else float(predictions.foreign[number])
    if predictions.sets is not None:
        found["set"] = None if number is None else predictions.set_of(number)
    return found


def doubt_cells(predictions: "Predictions", number: int) -> list[str]:
    """Return the same as cells of a CSV file."""
    values = doubt(predictions, number).values()
    return [files.csv_text(SEPARATOR.join(each) if isinstance(each, list) else f"{each:.4f}") for each in values]


def csv_header(near: Near | None) -> list[str]:
    """Return `nearest_1`, `nearest_class_1`, `similarity_1`, `nearest_2` and so on."""
    count = max(map(len, near), default=0) if near else 0
    return [f"{name}_{place}" for place in range(1, count + 1) for name in ("nearest", "nearest_class", "similarity")]


def csv_cells(near: Sequence[Neighbour]) -> list[str]:
    """Return the cells below `csv_header` of one image."""
    return [cell for each in near for cell in (files.csv_text(each.name), files.csv_text(each.label), f"{each.similarity:.4f}")]


def json_entries(near: Sequence[Neighbour]) -> list[dict[str, Any]]:
    """Return an object for each known image."""
    return [{"path": each.name, "class": each.label, "similarity": each.similarity} for each in near]


def parquet_lists(near: Near | None) -> dict[str, Any]:
    """Return the columns `nearest`, `nearest_class` and `similarity`, each a list for every image."""
    if near is None:
        return {}
    import pyarrow as pa

    kinds = {"nearest": pa.string(), "nearest_class": pa.string(), "similarity": pa.float32()}
    return {
        name: pa.array([[each[place] for each in row] for row in near], pa.list_(kind))
        for place, (name, kind) in enumerate(kinds.items())
    }
