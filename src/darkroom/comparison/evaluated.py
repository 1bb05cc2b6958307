"""What a revision records of its evaluation: predictions, metrics, parameters, the published epoch and size."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from darkroom.base.errors import InputError, listed
from darkroom.base.nested import flatten
from darkroom.metrics.predictions_file import EvaluatedSplit, read_predictions
from darkroom.repository.git import commit_of, text_in
from darkroom.versions.datasets import RAW, SPLIT
from darkroom.versions.revisions import LOCK, Revision, open_revision

PREDICTIONS = "metrics/predictions.parquet"
# The name now, and the one of older commits.
METRICS = ("metrics/evaluate.json", "metrics/evaluate/metrics.json")
TRAINED = ("metrics/train.json", "metrics/train/published.json")
BINS = 15
OUTS = (PREDICTIONS, RAW, SPLIT)


@dataclass(frozen=True)
class Evaluated:
    """One revision that was evaluated.

    Attributes
    ----------
    root : Path
        The repository.
    revision : Revision
    metrics : mapping
        Metrics of each split, as evaluate wrote them.
    predictions : mapping of EvaluatedSplit
        By split; empty if there are none.
    without : str
        Why there are no predictions; empty if there are.
    command : str
        The line that makes them, if there is one.
    """

    root: Path
    revision: Revision
    metrics: Mapping[str, Mapping[str, float]]
    predictions: Mapping[str, EvaluatedSplit] = field(default_factory=dict)
    without: str = ""
    command: str = ""

    @property
    def name(self) -> str:
        """The name by which it was opened."""
        return self.revision.name

    def __str__(self) -> str:
        return str(self.revision)

    @cached_property
    def stages(self) -> dict[str, Any]:
        """The stages of dvc.lock; none if it cannot be read."""
        stages = _yaml(self.text(LOCK)).get("stages")
        return {name: stage for name, stage in stages.items() if isinstance(stage, dict)} if isinstance(stages, dict) else {}

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters that the stages ran with, by dotted key: those of dvc.lock, or else of params.yaml."""
        found: dict[str, Any] = {}
        for stage in self.stages.values():
            sections = (stage.get("params") or {}).get("params.yaml")
            found |= dict(flatten(sections)) if isinstance(sections, dict) else {}
        return found or self._written_params

    @cached_property
    def _written_params(self) -> dict[str, Any]:
        return dict(flatten(_yaml(self.text("params.yaml"))))

    @cached_property
    def notes(self) -> list[str]:
        """What says that the metrics do not belong to the parameters and hashes beside them."""
        sections = {key.partition(".")[0] for key in self.params}
        written = {key: value for key, value in self._written_params.items() if key.partition(".")[0] in sections}
        differ = [key for key in written.keys() | self.params.keys() if written.get(key, ...) != self.params.get(key, ...)]
        found = []
        if written and differ:
            text = f"params.yaml of {self.name} has another {listed(sorted(differ))} than the run that was evaluated"
            found.append(text if self.revision.commit else f"{text}; run 'dvc repro'")
        if self.predictions and self.revision.commit is None:
            recorded = self.recorded_hash(PREDICTIONS)
            content = self.revision.read(PREDICTIONS)
            if recorded != hashlib.md5(content, usedforsecurity=False).hexdigest():
                found.append(f"{PREDICTIONS} of {self.name} is not the one that dvc.lock records; run 'dvc repro'")
        return found

    @cached_property
    def trained(self) -> dict[str, Any]:
        """The published epoch, its metrics, and the size of the network; empty if it is not recorded."""
        for name in TRAINED:
            content = _json(self.text(name))
            # Before, the file held them without a name of their own.
            found = content.get("published", content)
            if isinstance(found, dict) and found:
                return found
        return {}

    def recorded_hash(self, out: str) -> str | None:
        """Return the hash of an output in dvc.lock."""
        outs = [each for stage in self.stages.values() for each in stage.get("outs") or []]
        return next((str(each.get("md5")) for each in outs if isinstance(each, dict) and each.get("path") == out), None)

    def text(self, path: str) -> str | None:
        """Return a file that Git keeps, or that is in the workspace; None if it is not there."""
        if self.revision.commit:
            return text_in(self.root, self.revision.commit, path)
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None


def _yaml(text: str | None) -> dict[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(text or "")
    except (YAMLError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def open_evaluated(root: Path, name: str) -> Evaluated:
    """Open a revision, or the workspace, with its metrics, and its predictions if it has them.

    Raises
    ------
    InputError
        If there is no such revision, or it was never evaluated.
    """
    revision = open_revision(root, name, OUTS)
    bare = Evaluated(root, revision, {})
    metrics = next((found for path in METRICS if (found := _metrics(bare.text(path)))), {})
    predictions, why, command = _predictions(root, revision)
    if not metrics and not predictions:
        way_out = "name another one" if revision.commit else "run 'dvc repro evaluate'"
        raise InputError(f"{name}: was never evaluated: it has neither {METRICS[0]} nor {PREDICTIONS}; {way_out}")
    return Evaluated(root, revision, metrics, predictions, why, command)


def _predictions(root: Path, revision: Revision) -> tuple[dict[str, EvaluatedSplit], str, str]:
    """Return the predictions of each split, or why there are none and the line that makes them."""
    if PREDICTIONS not in revision.outs:
        return {}, f"{revision.name} has no {PREDICTIONS}", line_for(root, revision)
    try:
        return read_predictions(revision.read(PREDICTIONS)), "", ""
    except InputError as error:
        return {}, str(error), ""
    except (ValueError, OSError) as error:
        return {}, f"{PREDICTIONS} of {revision.name} is damaged ({error})", line_for(root, revision)


def line_for(root: Path, revision: Revision) -> str:
    """Return the commands that make the predictions of a revision."""
    if revision.commit is None:
        return "dvc repro evaluate"
    short = revision.commit[:10]
    if PREDICTIONS in (text_in(root, revision.commit, "dvc.yaml") or ""):
        return f"git switch --detach {short} && dvc checkout && dvc repro evaluate"
    # Its own code does not write them, and Git tracked what DVC caches now: the code of now runs with its parameters.
    now = commit_of(root, "HEAD")[:10]
    code = f"git switch -c again-{short} {short} && git checkout {now} -- src dvc.yaml"
    untracked = "git rm -rq --cached --ignore-unmatch metrics/split metrics/train metrics/evaluate"
    return f"{code} && {untracked} && dvc repro && git add -A && git commit -m again"


def _metrics(text: str | None) -> dict[str, dict[str, float]]:
    """Return the numbers in the text of metrics of each split; no others."""
    splits = {split: values for split, values in _json(text).items() if isinstance(values, dict)}
    return {
        str(split): {str(name): float(value) for name, value in values.items() if isinstance(value, int | float)}
        for split, values in splits.items()
    }


def _json(text: str | None) -> dict[str, Any]:
    try:
        content = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
