"""Predictions as files: CSV for people, Parquet with every probability, JSON Lines for programs. N images, K classes."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.metrics.decision import UNKNOWN, USUAL, Decision
from darkroom.prediction.further_columns import Neighbour, csv_cells, csv_header, doubt, doubt_cells, json_entries, parquet_lists

if TYPE_CHECKING:
    from darkroom.prediction.embeddings_file import Embeddings

SEPARATOR = "; "
EMBEDDINGS = "embeddings.parquet"
SHARED = ("classes", "multilabel", "decision", "backend", "embeddings")
"""Fields of `Predictions` that do not list something of each image."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model for N images.

    Attributes
    ----------
    classes : list of K str
    paths : list of N str
        Printable names of the images.
    probabilities : (N, K) float64
    actual : list of N str, or None
        The true classes, where they are known.
    given : list of N dict, or None
        Further columns of the source for each image.
    multilabel : bool
        Whether an image may have any number of classes.
    decision : Decision
        Which classes are predicted.
    backend : dict, or None
        Backend and precision that computed them, and their temperature.
    embeddings : Embeddings, or None
        Features (N, D) of the images before the last layer.
    abstained : (N,) bool, or None
        For which images the model abstains, being uncertain: their class is `unknown`; None: it never does.
    foreign : (N,) float64, or None
        How far each image is from those that were trained on; above 1 it is of none of the classes, and its class is `unknown`.
    sets : (N, K) bool, or None
        The classes that are in the conformal set of each image.
    near : list of N lists of Neighbour, or None
        The known images nearest to each, the nearest first.
    """

    classes: list[str]
    paths: list[str]
    probabilities: NDArray[np.float64]
    actual: list[str] | None = None
    given: list[dict[str, str]] | None = None
    multilabel: bool = False
    decision: Decision = USUAL
    backend: dict[str, Any] | None = None
    embeddings: "Embeddings | None" = None
    abstained: NDArray[np.bool_] | None = None
    foreign: NDArray[np.float64] | None = None
    sets: NDArray[np.bool_] | None = None
    near: list[list[Neighbour]] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return predictions of one model for several batches of images as one, without embeddings."""
        first, changes = parts[0], dict[str, Any]()
        for name in (field.name for field in fields(cls) if field.name not in SHARED):
            values = [getattr(each, name) for each in parts]
            if isinstance(values[0], np.ndarray):
                changes[name] = np.concatenate(values)
            elif values[0] is not None:
                changes[name] = [value for each in values for value in each]
        return replace(first, embeddings=None, **changes)

    # Two that pass over all images: writers ask for them beside every image.
    @cached_property
    def chosen(self) -> list[list[str]]:
        """The several classes that are predicted for each image, in the order of the class list."""
        rows = self.decision.chosen(self.probabilities)
        return [[self.classes[label] for label in np.flatnonzero(row).tolist()] for row in rows]

    @property
    def has_unknown(self) -> bool:
        """Whether the class of an image can be `unknown`."""
        return self.abstained is not None or self.foreign is not None

    def why(self, number: int) -> list[str]:
        """Return why the class of an image is `unknown`: `foreign`, `uncertain`, or both; nothing if it is not."""
        reasons = (("foreign", self.foreign is not None and self.foreign[number] > 1), ("uncertain", self._is_uncertain(number)))
        return [reason for reason, holds in reasons if holds]

    def _is_uncertain(self, number: int) -> bool:
        return self.abstained is not None and bool(self.abstained[number])

    def named(self, number: int, most_probable: str) -> str:
        """Return the class of an image, given its most probable one, or `unknown`."""
        return UNKNOWN if self.why(number) else most_probable

    def set_of(self, number: int) -> list[str]:
        """Return the classes in the conformal set of an image, the most probable first."""
        assert self.sets is not None
        order = np.argsort(-self.probabilities[number], kind="stable")
        return [self.classes[label] for label in order.tolist() if self.sets[number, label]]

    @cached_property
    def given_columns(self) -> list[str]:
        """Names of the further columns of the source."""
        return list(dict.fromkeys(name for each in self.given or [] for name in each))

    def most_probable(self, count: int) -> Iterator[list[tuple[str, float]]]:
        """Yield for each image its `count` most probable (class, probability); of equals the first class comes first.

        Of a binary task the predicted class comes first, which the threshold can make the less probable one.
        """
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        if self.decision.positive is not None:
            predicted = self.decision.label(self.probabilities)
            order = np.stack([predicted, 1 - predicted], axis=1)[:, :count]
        for labels, row in zip(order.tolist(), self.probabilities, strict=True):
            yield [(self.classes[label], float(row[label])) for label in labels]


def write_predictions(path: Path, predictions: Predictions, top_k: int) -> None:
    """Write one file atomically, in the format of its ending.

    Raises
    ------
    InputError
        If the name ends with none of .csv, .jsonl and .parquet, or its folder does not exist.
    """
    check_out(path)
    with files.replaced_file(path) as temporary:
        WRITERS[path.suffix.lower()](temporary, predictions, top_k)


def write_all(directory: Path, predictions: Predictions, top_k: int) -> None:
    """Write predictions.csv, .parquet and .jsonl, and backend.json, which says how they were computed."""
    for ending in WRITERS:
        write_predictions(directory / f"predictions{ending}", predictions, top_k)
    files.write_json(directory / "backend.json", predictions.backend)


def check_out(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is computed for it."""
    if path.suffix.lower() not in WRITERS:
        raise InputError(f"--out: {path} ends with none of {', '.join(WRITERS)}; give it one of these endings")
    if not path.parent.is_dir():
        raise InputError(f"--out: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise InputError(f"--out: {path} is a folder; name a file")


def _write_csv(path: Path, predictions: Predictions, top_k: int) -> None:
    """Write path, actual (where known), class, probability, class_2, … in four digits, and `given_<column>` of the source.

    For multi-label data, `classes` lists the predicted classes, and `class` is the most probable one. Where `class` is `unknown`,
    `most_probable` is the class that the probability is of, and `why` the reason; `foreign` is the distance, `set` its set. Of
    the nearest images there are `nearest_1`, `nearest_class_1`, `similarity_1`, and so on.
    """
    top_k = min(top_k, len(predictions.classes))
    known = ["actual"] if predictions.actual else []
    ranks = [f"{name}_{place}" for place in range(2, top_k + 1) for name in ("class", "probability")]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        columns = predictions.given_columns
        given = [files.csv_text(f"given_{name}") for name in columns]
        multilabel = ["classes"] if predictions.multilabel else []
        abstains = ["most_probable"] if predictions.has_unknown else []
        further = [*doubt(predictions), *csv_header(predictions.near)]
        first = ["class", *abstains, "probability"] if predictions.classes else []
        writer.writerow(["path", *known, *multilabel, *first, *ranks, *further, *given])
        chosen = predictions.chosen if predictions.multilabel else []
        for number, top in enumerate(predictions.most_probable(top_k)):
            actual = [files.csv_text(predictions.actual[number])] if predictions.actual else []
            cells = [cell for name, value in top for cell in (files.csv_text(name), f"{value:.4f}")]
            if abstains:
                cells = [files.csv_text(predictions.named(number, top[0][0])), *cells]
            columns_of_source = (
                [files.csv_text(predictions.given[number].get(name, "")) for name in columns] if predictions.given else []
            )
            predicted = [files.csv_text(SEPARATOR.join(chosen[number]))] if predictions.multilabel else []
            cells += doubt_cells(predictions, number)
            cells += csv_cells(predictions.near[number]) if predictions.near else []
            writer.writerow([files.csv_text(predictions.paths[number]), *actual, *predicted, *cells, *columns_of_source])


def _write_jsonl(path: Path, predictions: Predictions, top_k: int) -> None:
    """Write an object per line: path, actual (where known), class, probability, top (a list of both), given (by the source)."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        chosen = predictions.chosen if predictions.multilabel else []
        for number, top in enumerate(predictions.most_probable(top_k)):
            known = {"actual": predictions.actual[number]} if predictions.actual else {}
            ranked = [{"class": name, "probability": value} for name, value in top]
            given = {"given": predictions.given[number]} if predictions.given_columns and predictions.given else {}
            predicted = {"classes": chosen[number]} if predictions.multilabel else {}
            first = {**ranked[0], "class": predictions.named(number, top[0][0]), "top": ranked} if ranked else {}
            near = {"nearest": json_entries(predictions.near[number])} if predictions.near else {}
            kind = {"path": predictions.paths[number], **known, **predicted}
            file.write(json.dumps({**kind, **first, **doubt(predictions, number), **near, **given}, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, predictions: Predictions, top_k: int) -> None:  # noqa: ARG001
    """Write the columns of `parquet_columns`, a column `p_<class>` for every class, and `given_<column>`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = parquet_columns(predictions)
    columns |= {f"p_{name}": predictions.probabilities[:, label] for label, name in enumerate(predictions.classes)}
    for name in predictions.given_columns:
        columns[f"given_{name}"] = pa.array([each.get(name) for each in predictions.given or []], pa.string())
    pq.write_table(pa.table(columns), path)


def parquet_columns(predictions: Predictions) -> dict[str, Any]:
    """Return the columns path, actual (where known), class, probability, and the nearest images (where they were looked for)."""
    import pyarrow as pa

    columns: dict[str, Any] = {"path": pa.array(predictions.paths, pa.string())}
    if predictions.actual is not None:
        columns["actual"] = pa.array(predictions.actual, pa.string())
    if predictions.classes:
        first = [top[0] for top in predictions.most_probable(1)]
        if predictions.multilabel:
            columns["classes"] = pa.array(predictions.chosen, pa.list_(pa.string()))
        columns["class"] = pa.array([predictions.named(number, name) for number, (name, _) in enumerate(first)], pa.string())
        if predictions.has_unknown:
            columns["most_probable"] = pa.array([name for name, _ in first], pa.string())
        columns["probability"] = pa.array([value for _, value in first], pa.float64())
    each = [doubt(predictions, number) for number in range(len(predictions.paths))]
    for name in doubt(predictions):
        columns[name] = pa.array([found[name] for found in each], pa.float64() if name == "foreign" else pa.list_(pa.string()))
    return columns | parquet_lists(predictions.near)


WRITERS: dict[str, Callable[[Path, Predictions, int], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
