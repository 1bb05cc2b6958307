"""Predictions as files: CSV for people, Parquet with every probability, JSON Lines for programs. N images, K classes."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.metrics.decision import UNKNOWN, USUAL, Decision

SEPARATOR = "; "


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
    embeddings : (N, D) float32, or None
        Features of the images before the last layer.
    abstained : (N,) bool, or None
        For which images the model abstains, being uncertain: their class is `unknown`; None: it never does.
    foreign : (N,) float64, or None
        How far each image is from those that were trained on; above 1 it is of none of the classes, and its class is `unknown`.
    sets : (N, K) bool, or None
        The classes that are in the conformal set of each image.
    """

    classes: list[str]
    paths: list[str]
    probabilities: NDArray[np.float64]
    actual: list[str] | None = None
    given: list[dict[str, str]] | None = None
    multilabel: bool = False
    decision: Decision = USUAL
    backend: dict[str, Any] | None = None
    embeddings: NDArray[np.float32] | None = None
    abstained: NDArray[np.bool_] | None = None
    foreign: NDArray[np.float64] | None = None
    sets: NDArray[np.bool_] | None = None

    @property
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

    @property
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
    """Write predictions.csv, .parquet and .jsonl, backend.json, which says how they were computed, and embeddings.npy."""
    for ending in WRITERS:
        write_predictions(directory / f"predictions{ending}", predictions, top_k)
    files.write_json(directory / "backend.json", predictions.backend)
    if predictions.embeddings is not None:
        with files.replaced_file(directory / "embeddings.npy") as temporary, temporary.open("wb") as file:
            np.save(file, predictions.embeddings, allow_pickle=False)


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
    `most_probable` is the class that the probability is of, and `why` the reason; `foreign` is the distance, `set` its set.
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
        writer.writerow(["path", *known, *multilabel, "class", *abstains, "probability", *ranks, *_doubt(predictions), *given])
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
            doubt = [files.csv_text(_cell(value)) for value in _doubt(predictions, number).values()]
            writer.writerow([files.csv_text(predictions.paths[number]), *actual, *predicted, *cells, *doubt, *columns_of_source])


def _doubt(predictions: Predictions, number: int | None = None) -> dict[str, Any]:
    """Return why the class of an image is unknown, how foreign it is, and its set; of no image the names alone."""
    found: dict[str, Any] = {}
    if predictions.has_unknown:
        found["why"] = None if number is None else predictions.why(number)
    if predictions.foreign is not None:
        found["foreign"] = None if number is None else float(predictions.foreign[number])
    if predictions.sets is not None:
        found["set"] = None if number is None else predictions.set_of(number)
    return found


def _cell(value: Any) -> str:
    return SEPARATOR.join(value) if isinstance(value, list) else f"{value:.4f}"


def _write_jsonl(path: Path, predictions: Predictions, top_k: int) -> None:
    """Write an object per line: path, actual (where known), class, probability, top (a list of both), given (by the source)."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        chosen = predictions.chosen if predictions.multilabel else []
        for number, top in enumerate(predictions.most_probable(top_k)):
            known = {"actual": predictions.actual[number]} if predictions.actual else {}
            ranked = [{"class": name, "probability": value} for name, value in top]
            given = {"given": predictions.given[number]} if predictions.given_columns and predictions.given else {}
            predicted = {"classes": chosen[number]} if predictions.multilabel else {}
            first = {**ranked[0], "class": predictions.named(number, top[0][0])}
            doubt = _doubt(predictions, number)
            entry: dict[str, Any] = {"path": predictions.paths[number], **known, **predicted, **first, "top": ranked}
            entry |= {**doubt, **given}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _write_parquet(path: Path, predictions: Predictions, top_k: int) -> None:  # noqa: ARG001
    """Write path, actual (where known), class, probability, a column `p_<class>` for every class, and `given_<column>`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = [top[0] for top in predictions.most_probable(1)]
    columns: dict[str, Any] = {"path": pa.array(predictions.paths, pa.string())}
    if predictions.actual:
        columns["actual"] = pa.array(predictions.actual, pa.string())
    if predictions.multilabel:
        columns["classes"] = pa.array(predictions.chosen, pa.list_(pa.string()))
    columns["class"] = pa.array([predictions.named(number, name) for number, (name, _) in enumerate(first)], pa.string())
    if predictions.has_unknown:
        columns["most_probable"] = pa.array([name for name, _ in first], pa.string())
    columns["probability"] = pa.array([value for _, value in first], pa.float64())
    each = [_doubt(predictions, number) for number in range(len(first))]
    kinds = {"foreign": pa.float64()}
    for name in _doubt(predictions):
        columns[name] = pa.array([doubt[name] for doubt in each], kinds.get(name, pa.list_(pa.string())))
    columns |= {f"p_{name}": predictions.probabilities[:, label] for label, name in enumerate(predictions.classes)}
    for name in predictions.given_columns:
        columns[f"given_{name}"] = pa.array([each.get(name) for each in predictions.given or []], pa.string())
    pq.write_table(pa.table(columns), path)


WRITERS: dict[str, Callable[[Path, Predictions, int], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
