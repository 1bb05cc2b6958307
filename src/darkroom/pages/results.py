"""What the stages recorded in one revision, read when a section asks for it: from Git, DVC's cache or the remote. No images."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from darkroom.base.errors import InputError
from darkroom.base.nested import flatten
from darkroom.metrics.predictions_file import EvaluatedSplit, read_predictions
from darkroom.versions.revisions import LOCK, Revision

EVALUATE, TRAIN, SPLIT = "metrics/evaluate", "metrics/train", "metrics/split"
PREDICTIONS = "metrics/predictions.parquet"
# The second names are those of earlier versions.
METRICS = ("metrics/evaluate.json", f"{EVALUATE}/metrics.json")
PUBLISHED = ("metrics/train.json", f"{TRAIN}/published.json")
OUTS = (EVALUATE, TRAIN, SPLIT, PREDICTIONS, "data/split", "data/raw", "models/model.json", "models/calibration.json")
# A file that each of these folders has had in every version.
ALWAYS = {EVALUATE: "confusion.csv", TRAIN: "plots/metrics/val/loss.tsv", SPLIT: "classes.csv", "data/split": "split.json"}
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, pa.ArrowException, YAMLError, csv.Error)
Row = dict[str, str]


class Interval(NamedTuple):
    """A value with its interval of 95 %; the ends are NaN where unknown."""

    value: float
    low: float = math.nan
    high: float = math.nan


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
            text = f"was not made in {self.name}, by an earlier version or another stage; {again} and 'dvc repro' make it"
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
        for name in names[:-1]:
            try:
                return name, self.bytes_of(name)
            except InputError as error:
                first = error
        try:
            return names[-1], self.bytes_of(names[-1])
        except InputError:
            if len(names) == 1:
                raise
            raise first from None

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics of `val` and `test`, by name."""
        found = self.json_of(*METRICS)
        with reading(METRICS[0], self.revision):
            return {
                split: {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
                for split, values in found.items()
                if isinstance(values, dict)
            }

    @cached_property
    def published(self) -> dict[str, Any]:
        """The published epoch and its metrics on validation; empty if it is not recorded."""
        try:
            found = self.json_of(*PUBLISHED)
        except InputError:
            return {}
        published = found.get("published", found)
        return published if isinstance(published, dict) else {}

    @cached_property
    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock; none if it is not there, or damaged, which `mismatches` says."""
        try:
            return stages_in(self.bytes_of(LOCK), self.revision)
        except InputError:
            return {}

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters with which the stages ran, by dotted key: those of dvc.lock, not of params.yaml."""
        return params_in(self.lock)

    def mismatches(self) -> list[str]:
        """Return what says that the metrics do not belong to what lies beside them."""
        if not self.lock:
            return ["dvc.lock does not say what they were made with"]
        return [*self._changed_params(), *self._other_metrics(), *self._broken_chain()]

    def _changed_params(self) -> Iterator[str]:
        try:
            with reading("params.yaml", self.revision):
                written = _yaml(self.bytes_of("params.yaml"))
                now = {key: value for name in sections_in(self.lock) for key, value in flatten(written.get(name), name)}
        except InputError:
            return
        for key in sorted(now.keys() | self.params.keys()):
            if now.get(key, ...) != self.params.get(key, ...):
                values = [repr(each[key]) if key in each else "not set" for each in (now, self.params)]
                yield f"params.yaml has {key} = {values[0]}, but the results were made with {values[1]}"

    def _other_metrics(self) -> Iterator[str]:
        outs = {out.get("path"): out for out in _outs(self.lock)}
        for path in METRICS[:1]:
            recorded = outs.get(path, {}).get("md5")
            if recorded and hashlib.md5(self.bytes_of(path), usedforsecurity=False).hexdigest() != recorded:
                yield f"{path} is not the file that dvc.lock records"

    def _broken_chain(self) -> Iterator[str]:
        made = {out.get("path"): out.get("md5") for out in _outs(self.lock)}
        for name, stage in self.lock.items():
            for dep in stage.get("deps", []):
                path = dep.get("path")
                if path in made and dep.get("md5") != made[path]:
                    yield f"{name} ran with another {path} than the one recorded"

    @cached_property
    def task(self) -> str:
        """`multiclass`, `binary` or `multilabel`; `multiclass` if it is not recorded."""
        try:
            return str(self.json_of("models/model.json").get("task", "multiclass"))
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
            return self.json_of(f"{EVALUATE}/intervals.json")
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
        for path, key in ((f"{EVALUATE}/intervals.json", "about"), ("data/split/split.json", "images")):
            with suppress(InputError, *DAMAGED):
                found = self.json_of(path)[key]
                return int(found["images"][split] if key == "about" else found[split])
        try:  # the cells of the confusion, which an image of several classes has no single one of
            if self.task != "multilabel" and split == "test":
                return sum(int(row["count"]) for row in self.rows_of(f"{EVALUATE}/confusion.csv"))
        except (InputError, *DAMAGED):
            pass
        return 0

    @cached_property
    def predictions(self) -> dict[str, EvaluatedSplit]:
        """The predictions of `val` and `test`."""
        content = self.bytes_of(PREDICTIONS)
        with reading(PREDICTIONS, self.revision):
            return read_predictions(content)


@contextmanager
def reading(path: str, revision: Revision) -> Iterator[None]:
    """Turn what goes wrong with the content of a file into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except DAMAGED as error:
        way_out = "check that commit out and run './darkroom verify'" if revision.commit else "run 'dvc checkout --force'"
        text = f"{type(error).__name__}: {error}"[:200]
        raise InputError(f"{path}: is damaged in {revision.name} ({text}); {way_out}") from error


def _yaml(content: bytes) -> dict[str, Any]:
    found = YAML(typ="safe", pure=True).load(content.decode("utf-8"))
    if not isinstance(found, dict):
        raise TypeError("it is not a mapping")
    return found


def stages_in(content: bytes, revision: Revision) -> dict[str, Any]:
    """Return the stages in the text of a dvc.lock."""
    with reading(LOCK, revision):
        stages = _yaml(content).get("stages", {})
        found = {str(name): stage for name, stage in stages.items()}
        for stage in found.values():  # whatever is looked up in them later
            dict(stage.get("params", {}).get("params.yaml", {}))
            [each["path"] for kind in ("deps", "outs") for each in stage.get(kind, [])]
        return found


def _outs(stages: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [out for stage in stages.values() for out in stage.get("outs", [])]


def sections_in(stages: Mapping[str, Any]) -> list[str]:
    """Return the sections of params.yaml that stages ran with."""
    found = [name for stage in stages.values() for name in stage.get("params", {}).get("params.yaml", {})]
    return list(dict.fromkeys(found))


def params_in(stages: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that stages ran with, by dotted key."""
    sections = {
        name: value for stage in stages.values() for name, value in stage.get("params", {}).get("params.yaml", {}).items()
    }
    return dict(flatten(sections)) if sections else {}


def interval_in(values: Any, name: str) -> Interval:
    """Return an interval out of a mapping of intervals.json; NaN where there is none."""
    found = values.get(name) if isinstance(values, dict) else None
    if not isinstance(found, dict) or any(found.get(end) is None for end in Interval._fields):
        return Interval(math.nan)
    ends = [found.get(key) for key in Interval._fields]
    return Interval(*(float(end) if isinstance(end, int | float) else math.nan for end in ends))


def wilson(share: float, count: int) -> Interval:
    """Return a share of `count` images with its interval of 95 %.

    References
    ----------
    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    if not (math.isfinite(share) and count):
        return Interval(share)
    z = 1.959964  # the quantile of 97.5 % of the normal distribution
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def number(text: str | None) -> float:
    """Return the number in a cell of a table, NaN if it has none."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan
