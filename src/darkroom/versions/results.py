"""What the stages recorded in one revision, read when a section asks for it: from Git, DVC's cache or the remote. No images."""

import csv
import io
import json
import math
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError
from darkroom.metrics.predictions_file import EvaluatedSplit, read_predictions
from darkroom.versions.damage import DAMAGED, reading
from darkroom.versions.intervals import Interval, interval_in, wilson
from darkroom.versions.lock import LockedStage, outputs, parse_lock
from darkroom.versions.parameters import Params, flat, params_in
from darkroom.versions.recorded import (
    EVALUATE,
    INTERVALS,
    METRICS,
    MODEL,
    PREDICTIONS,
    PUBLISHED,
    SPLIT,
    TRAIN,
    Metrics,
    metrics_in,
    published_in,
)
from darkroom.versions.revisions import LOCK, Revision
from darkroom.versions.yaml_blocks import read_mapping

OUTS = (EVALUATE, TRAIN, SPLIT, PREDICTIONS, "data/split", "data/raw", MODEL, "models/calibration.json")
# A file that each of these folders has had in every version.
ALWAYS = {EVALUATE: "confusion.csv", TRAIN: "plots/metrics/val/loss.tsv", SPLIT: "classes.csv", "data/split": "split.json"}
Row = dict[str, str]


class Results:
    """The records of a revision. All that is read raises InputError where it is not there or damaged.

    Parameters
    ----------
    revision
        The revision, opened with `OUTS`.
    root
        The repository.
    """

    def __init__(self, revision: Revision, root: Path):
        self.revision, self.root = revision, root

    @property
    def name(self) -> str:
        """The name by which the revision was opened."""
        return self.revision.name

    def bytes_of(self, path: str) -> bytes:
        """Return a file.

        Raises
        ------
        InputError
            That says whether it was not made, or is in neither cache nor remote.
        """
        try:
            return self.revision.read(path)
        except InputError as error:
            if self._was_made(path):
                raise
            again = f"'git checkout {self.revision.commit[:10]}', 'dvc checkout'" if self.revision.commit else ""
            text = f"{self.name} has none, since an earlier version made it; {again} and 'dvc repro' make one"
            raise InputError(f"{path}: {text}") from error

    def _was_made(self, path: str) -> bool:
        """Return whether a file that cannot be read belongs to the revision: DVC does not tell it from one that is not there."""
        if self.revision.commit is None:
            return True
        out = next((out for out in self.revision.outs if path == out or path.startswith(f"{out}/")), None)
        try:
            # If another file of the same output can be read, the list of its files can.
            return out is not None and (out not in ALWAYS or not self.revision.read(f"{out}/{ALWAYS[out]}"))
        except InputError:
            return True

    def json_of(self, *names: str) -> dict[str, Any]:
        """Return a JSON file, by the first of its names that is there."""
        path, content = self._first(names)
        with reading(path, self.revision):
            found = json.loads(content)
            if not isinstance(found, dict):
                raise TypeError("it is not an object")
        return found

    def rows_of(self, path: str) -> list[Row]:
        """Return the rows of a CSV or TSV file, by column."""
        content = self.bytes_of(path)
        with reading(path, self.revision):
            text = io.StringIO(content.decode("utf-8"), newline="")
            return list(csv.DictReader(text, delimiter="\t" if path.endswith(".tsv") else ",", strict=True))

    def _first(self, names: tuple[str, ...]) -> tuple[str, bytes]:
        errors = []
        for name in names:
            try:
                return name, self.bytes_of(name)
            except InputError as error:
                errors.append(error)
        raise errors[0]

    @cached_property
    def metrics(self) -> Metrics:
        """Metrics of `val` and `test`, by name."""
        return metrics_in(self.json_of(*METRICS))

    @cached_property
    def published(self) -> dict[str, Any]:
        """The published epoch, its metrics on validation and the size of the network; empty if it is not recorded."""
        try:
            return published_in(self.json_of(*PUBLISHED))
        except InputError:
            return {}

    @cached_property
    def lock(self) -> dict[str, LockedStage]:
        """The stages of dvc.lock; none if it is not there, or damaged, which `mismatches` says."""
        return parse_lock(self._text_of(LOCK))

    @cached_property
    def params(self) -> Params:
        """The parameters with which the stages ran, by dotted key: those of dvc.lock, not of params.yaml."""
        return params_in(self.lock)

    @cached_property
    def written_params(self) -> Params:
        """The parameters of params.yaml, by dotted key; none if it is not there, or damaged."""
        try:
            return flat(read_mapping(self._text_of("params.yaml")))
        except (ValueError, TypeError, RecursionError):
            return {}

    def _text_of(self, path: str) -> str:
        """Return a file that Git keeps as text; an empty one if it is not there."""
        try:
            return self.bytes_of(path).decode("utf-8", "surrogateescape")
        except InputError:
            return ""

    @property
    def data_version(self) -> tuple[str, ...]:
        """What identifies images and split: their hashes in dvc.lock; the revision's name where they are not recorded."""
        found = [outputs(self.lock).get(name, "") for name in ("data/raw", "data/split")]
        return tuple(found) if all(found) else (self.name,)

    @cached_property
    def task(self) -> str:
        """`multiclass`, `binary` or `multilabel`; `multiclass` if it is not recorded."""
        try:
            return str(self.json_of(MODEL).get("task", "multiclass"))
        except InputError:
            return "multiclass"

    @cached_property
    def classes(self) -> list[str]:
        """The K class names; as the tables have them where data/split is not there."""
        try:
            found = self.json_of("data/split/split.json").get("classes")
            if isinstance(found, list) and all(isinstance(name, str) for name in found):
                return found
        except InputError:
            pass
        return [row["class"] for row in self.rows_of(f"{EVALUATE}/per_class.csv")]

    @cached_property
    def intervals(self) -> dict[str, Any]:
        """The content of intervals.json; empty in a revision of an earlier version."""
        try:
            return self.json_of(INTERVALS)
        except InputError:
            return {}

    def interval(self, split: str, metric: str) -> Interval:
        """Return a metric with its interval: the one that evaluate recorded, else of accuracies that of Wilson."""
        value = self.metrics.get(split, {}).get(metric, math.nan)
        found = interval_in(self.intervals.get(split), metric)
        if math.isfinite(found.low):
            return Interval(value, found.low, found.high)
        if metric in ("accuracy", "top5_accuracy") and (count := self.num_images(split)):
            return wilson(value, count)
        return Interval(value)

    def num_images(self, split: str) -> int:
        """Return the number of images of a split; 0 if it is not recorded."""
        with suppress(InputError, *DAMAGED):
            return int(self.intervals["about"]["images"][split])
        with suppress(InputError, *DAMAGED):
            return int(self.json_of("data/split/split.json")["images"][split])
        with suppress(InputError, *DAMAGED):  # an image of several classes is in no single cell
            if self.task != "multilabel" and split == "test":
                return sum(int(row["count"]) for row in self.rows_of(f"{EVALUATE}/confusion.csv"))
        return 0

    @cached_property
    def predictions(self) -> dict[str, EvaluatedSplit]:
        """The predictions of `val` and `test`."""
        content = self.bytes_of(PREDICTIONS)
        with reading(PREDICTIONS, self.revision):
            return read_predictions(content)
