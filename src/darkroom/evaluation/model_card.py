"""The model card: what to know about the published model before using it, as Markdown with metadata for the Hugging Face hub."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.base import files, paths
from darkroom.base.params import TrainParams
from darkroom.evaluation.hub_metadata import metadata, network_name
from darkroom.reporting.card_text import calibrated, code, count_images, document, items, short_name, table

Content = Mapping[str, Any]
Metrics = Mapping[str, Mapping[str, float]]

MAX_CLASSES, SHOWN_ENDS = 100, 20
NUM_WEAKEST = 5
# Sections of train that say how a training was run, kept and watched, not what the weights are.
NOT_SHOWN = (
    *("model", "keep_best", "keep_every", "keep_states", "log_every", "test_every", "debug", "metrics", "allow_noncommercial"),
    *("resume_sha256", "callbacks"),
)
USE = """\
```bash
dvc artifacts get REPOSITORY classifier --out model    # or take this folder as it is
git clone REPOSITORY project && cd project && make setup
./darkroom predict photo.jpg --model ../model
```

`model.json`, `model.safetensors` and, if there is one, `calibration.json` are all that it needs. Opening them runs no code."""


class Measured(NamedTuple):
    """What evaluate measured of a model.

    Attributes
    ----------
    metrics
        Values by name, of `val` and `test`.
    intervals
        By split and metric: `low` and `high` of the interval of 95 %; empty: none were computed.
    per_class
        Rows of per_class.csv: `class`, `f1`, `support`, … as text.
    calibration
        The content of calibration.json; None: there is none.
    """

    metrics: Metrics
    intervals: Mapping[str, Mapping[str, Mapping[str, float]]]
    per_class: Sequence[Mapping[str, str]]
    calibration: Content | None


def write_model_card(
    path: Path, model: Content, metrics: Mapping[str, Mapping[str, float]], tables: Path, calibration: Path | None = None
) -> None:
    """Write the card of a model, from its model.json, the data and what evaluate has just measured.

    Parameters
    ----------
    path
        The file to write.
    model
        The content of model.json, with what earlier versions left out.
    metrics
        Values by name, of `val` and `test`.
    tables
        Folder of per_class.csv and, if intervals were computed, intervals.json.
    calibration
        The file calibration.json; None: there is none.
    """
    intervals, per_class = (tables / name for name in ("intervals.json", "per_class.csv"))
    with per_class.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    measured = Measured(
        metrics=metrics,
        intervals=json.loads(intervals.read_bytes()) if intervals.exists() else {},
        per_class=rows,
        calibration=json.loads(calibration.read_bytes()) if calibration else None,
    )
    dataset, split = map(files.read_sealed_json, (paths.RAW / "dataset.json", paths.SPLIT / "split.json"))
    files.write_text(path, model_card(model, dataset, split, measured))


def model_card(model: Content, dataset: Content, split: Content, measured: Measured) -> str:
    """Return the card. It has no times, so it is the same for the same model, data and metrics.

    Parameters
    ----------
    model, dataset, split
        The contents of model.json, dataset.json and split.json.
    measured
        What evaluate measured.
    """
    sections = {
        "Use": USE,
        "Model": _model(model),
        "Classes": _classes(model["classes"]),
        "Data": _data(dataset, split),
        "Preprocessing": _preprocessing(model["preprocessing"]),
        "Training": _training(model),
        "Metrics": _metrics(measured, split),
        "Calibration": calibrated(measured.calibration),
        "Limits": _limits(model, measured, split),
        "Hashes": _hashes(model),
    }
    title = f"Model card: {code(network_name(model))} on {code(short_name(dataset))}"
    kind = {"multilabel": "any number of", "binary": "one of two", "multiclass": "one of"}[model["task"]]
    number = "" if model["task"] == "binary" else f"{len(model['classes'])} "
    intro = f"A classifier that gives an image {kind} {number}classes. Written by `dvc repro`; do not edit."
    return document(
        metadata(model, dataset, measured.metrics), title, intro, {name: text for name, text in sections.items() if text}
    )


def _model(model: Content) -> str:
    network, size = model["network"], model.get("size") or {}
    rows = [("Network", code(f"{network['provider']}: {network['name']}" if "name" in network else network.get("_target_")))]
    if network.get("kwargs"):
        rows.append(("Arguments", code(_json(network["kwargs"]))))
    if size:
        rows.append(("Parameters", f"{size['parameters']:,}".replace(",", " ")))
        rows.append(("Multiply-adds per image", f"{size['multiply_adds']:,}".replace(",", " ")))
    rows.append(("Task", model["task"]))
    if model.get("positive_class") is not None:
        rows.append(("Positive class", code(model["positive_class"])))
    for key, name in (("origin", "Weights it began with"), ("teacher", "Learnt from")):
        if origin := model.get(key):
            rows.append((name, f"{code(origin['source'])}, licence {code(origin.get('licence') or 'unknown')}"))
    if not model.get("origin"):
        rows.append(("Weights it began with", "random ones: the licence of these weights is for who trained them to say"))
    if resumed := model.get("resumed"):
        rows.append(("Resumed", f"{code(resumed['source'])} after epoch {resumed['epoch']}"))
    return items(rows)


def _classes(classes: Sequence[str]) -> str:
    if len(classes) <= MAX_CLASSES:
        return ", ".join(map(code, classes))
    ends = [*map(code, classes[:SHOWN_ENDS]), "…", *map(code, classes[-SHOWN_ENDS:])]
    return f"{', '.join(ends)}; all {len(classes)} are in `model.json`."


def _data(dataset: Content, split: Content) -> str:
    counts = count_images(split)
    numbers = ", ".join(f"{counts[name]} to {use}" for name, use in (("train", "train"), ("val", "validate"), ("test", "test")))
    rows = [("Name", code(short_name(dataset))), ("Licence", code(dataset.get("licence") or "unknown")), ("Images", numbers)]
    rows += [("Citation", code(dataset["citation"]))] if dataset.get("citation") else []
    return f"{items(rows)}\n\n`metrics/split/card.md` in its repository describes the images."


def _preprocessing(content: Content) -> str:
    size = content["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    rows = [("Input", f"{width} x {height} pixels, {content['channels']} channel(s)"), ("Other shapes", code(content["way"]))]
    rows += [("Bands", code(content["bands"]))] if content.get("bands") else []
    rows += [("Steps", code(_json(content["steps"])))] if content.get("steps") else []
    for name in ("mean", "std"):
        rows.append((name.capitalize(), ", ".join(f"{value:.4f}" for value in content[name][:16])))
    return f"{items(rows)}\n\nThe model does this itself, with every image that it is given."


def _training(model: Content) -> str:
    soup = model.get("soup")
    epoch = f"the mean of epochs {', '.join(map(str, soup))}" if soup else f"epoch {model['epoch']}"
    chosen = f"Published is {epoch}, with {code(model['monitor'])} {model['score']:.4f}."
    rows = [(code(name), code(_json(value))) for name, value in _changed(model["params"])]
    machine = ", ".join(str(value) for value in (model.get("machine") or {}).values())
    packages = ", ".join(f"{name} {number}" for name, number in model["packages"].items())
    trained = items([("Precision", code(model.get("precision"))), ("Machine", code(machine)), ("Packages", code(packages))])
    text = "Parameters that have no default, or another value than it; those that switch nothing on are left out:"
    return f"{chosen}\n\n{text}\n\n{items(rows)}\n\n{trained}"


def _changed(params: Content) -> Iterator[tuple[str, Any]]:
    """Yield the parameters that say how the weights came about."""
    yield "base.seed", params["base"].get("seed")
    fields = TrainParams.model_fields
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields.items() if not field.is_required()}
    for name, value in params["train"].items():
        shown = _switched_on(value)
        if name in NOT_SHOWN or shown is None or (name in defaults and value == defaults[name]):
            continue
        if name != "early_stopping" or value.get("monitor") is not None:
            yield f"train.{name}", shown


def _switched_on(value: Any) -> Any:
    """Return a value without what it leaves off; None if nothing is left."""
    if isinstance(value, Mapping):
        value = {key: each for key, each in value.items() if _switched_on(each) is not None}
    return None if value is None or value is False or value in ({}, [], 0.0) else value


def _metrics(measured: Measured, split: Content) -> str:
    names = list(dict.fromkeys(name for values in measured.metrics.values() for name in values))
    splits = list(measured.metrics)
    rows = [(code(name), *(_value(measured, each, name) for each in splits)) for name in names]
    counts = ", ".join(f"{count_images(split).get(each)} images of {each}" for each in splits)
    note = "In brackets the interval that holds the metric with 95 % confidence, for other images from the same source."
    note = f" {note}" if any(measured.intervals.get(each) for each in splits) else ""
    return f"Measured on {counts}.{note}\n\n{table(('metric', *splits), rows)}"


def _value(measured: Measured, split: str, name: str) -> str:
    value = measured.metrics[split].get(name)
    if value is None:
        return ""
    interval = measured.intervals.get(split, {}).get(name, {})
    low, high = interval.get("low"), interval.get("high")
    return f"{value:.4f}" + ("" if low is None or high is None else f" ({low:.4f} to {high:.4f})")


def _limits(model: Content, measured: Measured, split: Content) -> str:
    lines = ["It was measured on images from the same source as those it was trained on; others may give other results."]
    if (measured.calibration or {}).get("foreign"):
        lines.append(
            "`./darkroom predict` calls images `unknown` that are far from those of every class; some foreign ones are not."
        )
    elif model["task"] == "multilabel":
        lines.append("It knows no other classes.")
    else:
        lines.append("It predicts one of its classes for any image, also for one that shows none of them.")
    count = count_images(split).get("test") or 0
    if count:
        lines.append(f"With {count} test images, one image more or less right is {1 / count:.2%} of accuracy.")
    scored = [row for row in measured.per_class if row.get("f1")]
    weakest = sorted(scored, key=lambda row: float(row["f1"]))[:NUM_WEAKEST]
    if weakest and float(weakest[0]["f1"]) < 1:
        named = ", ".join(f"{code(row['class'])} {float(row['f1']):.3f} ({row['support']} images)" for row in weakest)
        lines.append(f"Lowest F1 on test: {named}.")
    return "\n".join(f"- {line}" for line in lines)


def _hashes(model: Content) -> str:
    data = {"raw": "data/raw/dataset.json", "split": "data/split/manifest.csv"}
    rows = [("model.safetensors", code(model["weights_sha256"]))]
    return "SHA-256:\n\n" + items(rows + [(data.get(name, name), code(value)) for name, value in model["data_sha256"].items()])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
