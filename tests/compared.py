"""Repositories whose revisions have predictions, made without a training: what Git and DVC would have recorded."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from repositories import cache, git, lock_text, write

from darkroom.metrics.decision import USUAL, Decision
from darkroom.metrics.predictions_file import About, EvaluatedSplit, read_predictions
from darkroom.metrics.predictions_writer import ImagesOf, PredictionsWriter

PREDICTIONS = "metrics/predictions.parquet"
PARAMS = {"base": {"seed": 0}, "train": {"lr": 0.01, "epochs": 3}, "evaluate": {"ece_bins": 15}}
PIPELINE = f"stages:\n  evaluate:\n    cmd: 'true'\n    outs:\n    - {PREDICTIONS}\n    metrics:\n    - metrics/evaluate.json:\n        cache: false\n"


def predictions_file(
    path: Path,
    probabilities: NDArray[Any],
    labels: NDArray[Any],
    *,
    classes: Sequence[str] | None = None,
    decision: Decision = USUAL,
    ids: Sequence[str] | None = None,
    hashes: Sequence[bytes] | None = None,
    groups: Sequence[str | None] | None = None,
    splits: Sequence[str] = ("test",),
) -> Path:
    """Write predictions as evaluate does; image number n has the id `n` and the pixels `n`, unless others are given."""
    task = "binary" if decision.positive is not None else "multilabel" if labels.ndim == 2 else "multiclass"
    names = list(ids or map(str, range(len(labels))))
    columns: dict[str, Sequence[str | None]] = {"group": groups} if groups else {}
    about = About(list(classes or map(str, range(probabilities.shape[1]))), task, decision, tuple(columns))
    pixels = list(hashes or (f"{place:016}".encode() for place in range(len(labels))))
    with PredictionsWriter(path, about) as writer:
        for split in splits:
            writer.add(split, ImagesOf(names, pixels, labels, columns), np.asarray(probabilities, np.float64))
    return path


def split_of(path: Path, *arguments: Any, **options: Any) -> EvaluatedSplit:
    """Return such predictions as they are read again."""
    return read_predictions(predictions_file(path / "predictions.parquet", *arguments, **options))["test"]


def sure(predicted: Sequence[int], num_classes: int, confidence: float = 0.9) -> NDArray[np.float64]:
    """Return probabilities (N, K) in which the predicted class has this one."""
    rest = (1 - confidence) / (num_classes - 1)
    probabilities = np.full((len(predicted), num_classes), rest)
    probabilities[np.arange(len(predicted)), list(predicted)] = confidence
    return probabilities


@dataclass(frozen=True)
class Repository:
    """A repository with Git, and what DVC keeps in it."""

    root: Path

    def git(self, *arguments: str) -> str:
        return git(self.root, *arguments)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        write(self.root, files)

    def evaluate(
        self,
        probabilities: NDArray[Any],
        labels: NDArray[Any],
        *,
        params: Mapping[str, Any] = PARAMS,
        metrics: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        """Let the workspace be as after `dvc repro`: predictions, metrics, dvc.lock, params.yaml, the cache."""
        path = self.root / PREDICTIONS
        path.parent.mkdir(exist_ok=True)
        digest = cache(self.root, predictions_file(path, probabilities, labels, **options).read_bytes())
        recorded = {split: dict(metrics or {"accuracy": 0.5}) for split in options.get("splits", ("test",))}
        lock = lock_text({"evaluate": {"params": dict(params), "outs": {PREDICTIONS: digest}}})
        self.write({"params.yaml": json.dumps(params), "dvc.lock": lock, "metrics/evaluate.json": json.dumps(recorded)})

    def commit(self, branch: str) -> str:
        """Commit the workspace to a branch of this name, and return the commit."""
        self.git("checkout", "-qB", branch)
        self.git("add", "-A")
        self.git("commit", "-qm", branch)
        return self.git("rev-parse", "HEAD")


def make_repository(root: Path) -> Repository:
    """Return a new one without a commit."""
    made = Repository(root)
    made.write(
        {
            "dvc.yaml": PIPELINE,
            ".dvc/config": "",
            ".gitignore": f"/{PREDICTIONS}\n/.dvc/cache\n/.dvc/tmp\n",
            "src/train.py": "1\n",
        }
    )
    made.git("init", "-qb", "main")
    return made
