"""Records as the stages write them, of made-up predictions, for tests of what is drawn from them."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from repositories import lock_text

from darkroom.base.errors import InputError
from darkroom.metrics import scores
from darkroom.metrics.decision import USUAL, Decision
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.predictions_file import About
from darkroom.metrics.predictions_writer import ImagesOf, PredictionsWriter
from darkroom.versions.results import Results
from darkroom.versions.revisions import Revision

HOSTILE = "<img src=x onerror=alert(1)>"
FORMULA = "=1+1.png"
Files = dict[str, bytes]


def records(
    classes: Sequence[str],
    folder: Path,
    *,
    images: int = 200,
    task: str = "multiclass",
    epochs: int = 5,
    seed: int = 0,
    columns: dict[str, Sequence[str]] | None = None,
    params: dict[str, Any] | None = None,
) -> Files:
    """Return the files of a revision by path; `folder` is written to meanwhile."""
    random = np.random.default_rng(seed)
    decision = Decision(positive=1) if task == "binary" else USUAL
    found: Files = {}
    parts = {split: _predicted(random, len(classes), images, task) for split in ("val", "test")}
    about = About(list(classes), task, decision, tuple(f"given_{name}" for name in columns or {}))
    with PredictionsWriter(folder / "predictions.parquet", about) as writer:
        for split, (probabilities, labels) in parts.items():
            ids = [f"{split}/{FORMULA}", *(f"{split}/{number}.png" for number in range(1, images))]
            given = {f"given_{name}": list(values) for name, values in (columns or {}).items()}
            writer.add(split, ImagesOf(ids, [b"x" * 16] * images, labels, given), probabilities)
            found[f"metrics/evaluate/reliability_{split}.csv"] = _reliability(probabilities, labels, decision)
    probabilities, labels = parts["test"]
    found |= _tables(classes, probabilities, labels, decision)
    found["metrics/predictions.parquet"] = (folder / "predictions.parquet").read_bytes()
    metrics = {split: scores.score_of(Outcomes.of(*part, decision, bins=15)) for split, part in parts.items()}
    finite = {split: {name: value for name, value in each.items() if value == value} for split, each in metrics.items()}
    found["metrics/evaluate.json"] = json.dumps(finite).encode()
    test = [f"test/{FORMULA}", *(f"test/{number}.png" for number in range(1, images))]
    wrong = [test[row] for row in np.flatnonzero(~Outcomes.of(probabilities, labels, decision).right).tolist()]
    found |= _split(classes, labels, images) | _training(epochs, random) | _explained(folder, random, images, wrong)
    ran = {"train": {"lr": 0.01, "epochs": epochs} | (params or {})}
    found["dvc.lock"] = lock_text({"train": {"params": ran, "outs": {"data/split": "s", "data/raw": "r"}}}).encode()
    found["params.yaml"] = json.dumps(ran).encode()
    found["models/model.json"] = json.dumps({"task": task, "classes": list(classes)}).encode()
    abstain = {"wanted_precision": 0.95, "confidence": 0.6, "precision": 0.96, "coverage": 0.7}
    fitted = {"temperature": 0.5, "abstain": abstain, "conformal": {"coverage": 0.9}, "foreign": {"limit": 3.0}}
    found["models/calibration.json"] = json.dumps(fitted).encode()
    found["data/raw/dataset.json"] = json.dumps({"name": f"/data/{HOSTILE}", "licence": "CC0"}).encode()
    return found


def revision(files: Files, name: str = "workspace") -> Results:
    """Return these files as those of a revision that is opened."""

    def read(path: str) -> bytes:
        if path not in files:
            raise InputError(f"{path}: does not exist; run 'dvc repro'")
        return files[path]

    return Results(Revision(name, None, frozenset(files), read), Path("/"))


def png(colour: tuple[int, int, int], side: int = 8) -> bytes:
    """Return an image of one colour."""
    written = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(written, "PNG")
    return written.getvalue()


def _predicted(random: np.random.Generator, num_classes: int, images: int, task: str) -> tuple[Any, Any]:
    if task == "multilabel":
        labels = random.integers(0, 2, (images, num_classes)).astype(np.uint8)
        return np.clip(labels + random.normal(0, 0.35, labels.shape), 0.01, 0.99), labels
    labels = random.integers(0, num_classes, images)
    logits = random.normal(0, 1, (images, num_classes)) + 3 * np.eye(num_classes)[labels]
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True), labels


def _table(rows: Sequence[Sequence[object]], delimiter: str = ",") -> bytes:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return written.getvalue().encode()


def confusion_matrix(outcomes: Outcomes) -> NDArray[np.int64]:
    """Return the number of images (K, K) of each actual class (row) that were predicted to be each class (column)."""
    matrix = np.diag(outcomes.counts[0])
    actual, predicted, number = outcomes.cells()
    matrix[actual, predicted] = number
    return matrix


def _reliability(probabilities: Any, labels: Any, decision: Decision) -> bytes:
    """Return the table before and after a calibration, which makes them more certain."""
    rows: list[list[object]] = []
    for name, sharper in (("before", probabilities), ("after", np.sqrt(probabilities))):
        each = sharper / sharper.sum(axis=1, keepdims=True) if labels.ndim == 1 else sharper
        columns = (column.tolist() for column in scores.diagram(Outcomes.of(each, labels, decision, bins=15)))
        rows += [[*row, name] for row in zip(range(1, 16), *columns, strict=True) if row[-1]]
    return _table([["bin", "confidence", "accuracy", "count", "calibration"], *rows])


def _tables(classes: Sequence[str], probabilities: Any, labels: Any, decision: Decision) -> Files:
    """Return per_class.csv, confusion.csv and intervals.json."""
    written = [name.translate({ord("<"): "\u2039", ord(">"): "\u203a"}) for name in classes]
    columns = [column.tolist() for column in scores.per_class_scores(Outcomes.of(probabilities, labels, decision))]
    each = [[name, *("" if value != value else value for value in row)] for name, *row in zip(written, *columns, strict=True)]
    matrix = confusion_matrix(Outcomes.of(probabilities, labels, decision))
    places = [(label, label) for label in range(len(classes))]
    places += [(a, b) for a, b in np.argwhere(matrix).tolist() if a != b]
    cells = [[written[a], written[b], matrix[a, b], len(classes)] for a, b in places]
    intervals = {
        name: {key: _interval(column[label]) for key, column in zip(("precision", "recall", "f1"), columns, strict=False)}
        for label, name in enumerate(classes)
    }
    value = {"images": 20, "accuracy": _interval(0.75)}
    test = {
        "accuracy": 0.8,
        "ece": 0.2,
        "ece_calibrated": 0.1,
        "false_alarms": 0.04,
        "conformal_coverage": 0.91,
        "conformal_size": 1.3,
    }
    content = {
        "test": {name: _interval(value) for name, value in test.items()},
        "per_class": intervals,
        "by": {"given_site": {HOSTILE: value, "north": value}},
    }
    return {
        "metrics/evaluate/per_class.csv": _table([["class", "precision", "recall", "f1", "support"], *each]),
        "metrics/evaluate/confusion.csv": _table([["actual", "predicted", "count", "num_classes"], *cells]),
        "metrics/evaluate/intervals.json": json.dumps(content).encode(),
    }


def _interval(value: float) -> dict[str, float | None]:
    return (
        {"value": value, "low": value - 0.05, "high": min(1.0, value + 0.05)} if value == value else {"value": None, "low": None}
    )


def _split(classes: Sequence[str], labels: Any, images: int) -> Files:
    counts = labels.sum(axis=0) if labels.ndim == 2 else np.bincount(labels, minlength=len(classes))
    each = [[name, 3 * count, count, count, 0] for name, count in zip(classes, counts.tolist(), strict=True)]
    header = ["kind", "distance", "split", "other_split", "class", "other_class", "row", "other_row", "id", "other_id"]
    pairs = [["near", 3, "train", "test", HOSTILE, "b", 0, 1, FORMULA, "<script>alert(1)</script>.png"]]
    pairs += [["equal", 0, "train", "left_out", "b", "b", row, row + 1, f"{row}.png", f"{row}b.png"] for row in range(20)]
    content = {"classes": list(classes), "images": {"train": 3 * images, "val": images, "test": images, "left_out": 0}}
    sizes = [[f"{side} to {side + 7}", side, side, 1, 1, 0] for side in range(32, 128, 8)]
    return {
        "data/split/split.json": json.dumps(content).encode(),
        "data/split/duplicates.csv": _table([header, *pairs]),
        "metrics/split/classes.csv": _table([["class", "train", "val", "test", "left_out"], *each]),
        "metrics/split/sizes.csv": _table([["shorter_side", "place", "train", "val", "test", "left_out"], *sizes]),
        "metrics/split/images/samples.png": png((90, 120, 150), 400),
        "metrics/split/images/duplicates.png": png((90, 150, 120), 400),
    }


def _training(epochs: int, random: np.random.Generator) -> Files:
    found = {}
    for name in ("train/loss", "val/loss", "val/accuracy", "val/f1_macro", "lr"):
        column = name.rpartition("/")[2]
        values = np.exp(-np.arange(epochs) / 5) * (0.5 + random.uniform(0, 0.1, epochs))
        values = 1 - values if column in ("accuracy", "f1_macro") else values
        rows = [[epoch + 1, value if epoch != 2 else "nan"] for epoch, value in enumerate(values.tolist())]
        found[f"metrics/train/plots/metrics/{name}.tsv"] = _table([["step", column], *rows], "\t")
    published = {"epoch": epochs, "accuracy": 0.9, "loss": 0.4, "parameters": 94186}
    return found | {"metrics/train.json": json.dumps({"published": published}).encode()}


def _explained(folder: Path, random: np.random.Generator, images: int, wrong: Sequence[str]) -> Files:
    test = [f"test/{FORMULA}", *(f"test/{number}.png" for number in range(1, images))]
    shown = wrong[:40]
    rows = {
        "id": shown,
        "image": [png((200, 100, 5 * number), 8) for number in range(len(shown))],
        "heat": [png((250, 0, 5 * number), 8) for number in range(len(shown))],
    }
    pq.write_table(pa.table(rows), folder / "mistakes.parquet")
    features = random.normal(0, 1, (images, 16)).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), 16)
    pq.write_table(pa.table({"id": test, "features": column}), folder / "features.parquet")
    return {f"metrics/evaluate/{name}": (folder / name).read_bytes() for name in ("mistakes.parquet", "features.parquet")}
