"""The published model: whether model.json, run.json and the metrics tell of one training, and its origins are what they were."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import Params, published_name
from darkroom.health.verified import FAIL, NOTE, OK, Finding
from darkroom.stage.record import plain
from darkroom.versions.models import read_model, read_training

CARD, RUN, PUBLISHED = "models/model.json", "models/run.json", "metrics/train.json"
# What model.json and run.json say alike, by their names in each.
SHARED = {"weights_sha256": "weights_sha256", "params": "params", "data_sha256": "data", "origin": "origin", "teacher": "teacher"}
# Settings of `train` that have no effect on the weights, and are not recorded with them.
UNRECORDED = ("checkpoint", "loggers", "inspect")
Json = Mapping[str, Any]


def trained_params(params: Params) -> dict[str, Any]:
    """Return the sections that the weights depend on, as a training records them."""
    sections: dict[str, Any] = plain(params.model_dump(by_alias=True, include={"base", "train"}))
    for key in UNRECORDED:
        del sections["train"][key]
    return sections


def check_trained(root: Path, run: Json, again: str) -> Iterator[Finding]:
    """Compare model.json with run.json (`run`), with the published metrics, with the data, and with what it started from.

    `again` says how to train anew.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError
        If a file is missing or damaged.
    """
    card = files.read_sealed_json(root / CARD)
    shared = SHARED | {key: key for key in card.keys() & run.keys() - {"packages", *SHARED}}
    for key, name in shared.items():
        right = card.get(key) == run.get(name)
        text = "as in run.json" if right else f"{key} is not what {RUN} has as {name}; {again}"
        yield Finding(OK if right else FAIL, CARD, f"{key} {text}" if right else text)
    installed = {name.lower(): number for name, number in run["packages"].items()}
    for name, number in card["packages"].items():
        if installed.get(name.lower()) != number:
            yield Finding(FAIL, CARD, f"packages.{name} is {number}, but {RUN} has {installed.get(name.lower())}; {again}")
    for name, file in (("raw", "data/raw/dataset.json"), ("split", "data/split/manifest.csv")):
        if (root / file).is_file() and files.sha256(root / file) != card["data_sha256"][name]:
            yield Finding(FAIL, CARD, f"was trained on another data/{name}; {again}")
    published = json.loads((root / PUBLISHED).read_text(encoding="utf-8"))["published"]
    expected = {"epoch": card["epoch"], published_name(card["monitor"]): card["score"]}
    for key, value in expected.items():
        if key in published and published[key] != value:
            yield Finding(FAIL, PUBLISHED, f"{key} is {published[key]}, but {value} in {CARD}; {again}")
    yield from _check_origins(root, card, again)


def _check_origins(root: Path, card: Json, again: str) -> Iterator[Finding]:
    """Check that names in params.yaml still mean the models and the training that were started from."""
    train = card["params"]["train"]
    teacher = train.get("teacher") or {}
    for key, name, origin in (
        ("train.init_from", train.get("init_from"), card.get("origin")),
        ("train.teacher.model", teacher.get("model"), card.get("teacher")),
        ("train.resume_from", train.get("resume_from"), card.get("resumed")),
    ):
        if name is None:
            continue
        if origin is None:
            yield Finding(FAIL, CARD, f"says nothing of what {key} ({name}) was; {again}")
            continue
        yield _check_origin(root, key, name, origin, again)


def _check_origin(root: Path, key: str, name: str, origin: Json, again: str) -> Finding:
    subject, there = f"params.yaml: {key}", (root / name).exists()
    try:
        found = _hashes(root, key, name)
    except InputError as error:
        text = f"cannot be compared with what the training started from ({error})"
        return Finding(FAIL, subject, f"{text}; {again}") if there else Finding(NOTE, subject, text)
    if (
        all(found.get(file, digest) == digest for file, digest in origin["sha256"].items())
        and found.keys() & origin["sha256"].keys()
    ):
        return Finding(OK, subject, "is what the training started from")
    text = f"{name} is another model than the training started from ({origin['source']})"
    if there:
        return Finding(FAIL, subject, f"{text}; {again}, or put the other one back")
    # A branch moves with every commit; the commit that it was is recorded.
    return Finding(NOTE, subject, f"{text}: a name that moves; name the commit to train the same again")


def _hashes(root: Path, key: str, name: str) -> dict[str, str]:
    path = root / name
    if path.is_file():
        return {path.name: files.sha256(path)}
    if key == "train.resume_from":
        training = read_training(root, root, name)
        return training.sha256 if training else {}
    return {file: hashlib.sha256(content).hexdigest() for file, content in read_model(root, root, name)[1].items()}
