"""What a revision records of its evaluation: predictions, metrics, parameters, the published epoch and size."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from darkroom.base.errors import InputError
from darkroom.base.nested import flatten
from darkroom.metrics.predictions_file import EvaluatedSplit, read_predictions
from darkroom.repository.git import text_in
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
        Why there are no predictions, and the line that makes them; empty if there are.
    """

    root: Path
    revision: Revision
    metrics: Mapping[str, Mapping[str, float]]
    predictions: Mapping[str, EvaluatedSplit] = field(default_factory=dict)
    without: str = ""

    @property
    def name(self) -> str:
        """The name by which it was opened."""
        return self.revision.name

    def __str__(self) -> str:
        return str(self.revision)

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters in params.yaml, by dotted key; empty if they cannot be read."""
        try:
            content = YAML(typ="safe").load(self.text("params.yaml") or "")
        except (YAMLError, ValueError, RecursionError):
            return {}
        return dict(flatten(content)) if isinstance(content, dict) else {}

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
        # Without parsing the file, which takes longer than all else; DVC writes every entry in this form.
        entry = re.search(rf"- path: {re.escape(out)}\n\s+hash: md5\n\s+md5: (\S+)", self.text(LOCK) or "")
        return entry[1] if entry else None

    def text(self, path: str) -> str | None:
        """Return a file that Git keeps, or that is in the workspace; None if it is not there."""
        if self.revision.commit:
            return text_in(self.root, self.revision.commit, path)
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None


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
    predictions, why = _predictions(revision)
    if not metrics and not predictions:
        way_out = "name another one" if revision.commit else "run 'dvc repro evaluate'"
        raise InputError(f"{name}: was never evaluated: it has neither {METRICS[0]} nor {PREDICTIONS}; {way_out}")
    return Evaluated(root, revision, metrics, predictions, why)


def _predictions(revision: Revision) -> tuple[dict[str, EvaluatedSplit], str]:
    """Return the predictions of each split, or why there are none, with the line that makes them."""
    if PREDICTIONS not in revision.outs:
        return {}, f"{revision.name} has no {PREDICTIONS}; to make it: {line_for(revision)}"
    try:
        return read_predictions(revision.read(PREDICTIONS)), ""
    except InputError as error:
        return {}, str(error)
    except (ValueError, OSError) as error:
        return {}, f"{PREDICTIONS} of {revision.name} is damaged ({error}); to make it again: {line_for(revision)}"


def line_for(revision: Revision) -> str:
    """Return the command that makes the predictions of a revision."""
    if revision.commit is None:
        return "dvc repro evaluate"
    # Code of the revision would not write them, and so would not its experiments: the code of now evaluates the model of then.
    return f"git switch --detach {shlex.quote(revision.commit[:12])} && dvc checkout && dvc repro evaluate"


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
