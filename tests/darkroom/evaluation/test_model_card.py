"""The model card says what was recorded, follows every change of it, and no name in it becomes markup."""

import copy
import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from darkroom.base import files, paths
from darkroom.evaluation.model_card import Measured, model_card, write_model_card

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "[a](https://evil.example)",
    "a | b | c",
    "``` code",
    "two\nlines\n# a title",
    "---\nlicense: mit\n---",
    "evil: {a: [b",
    "'\"",
    "\u202eturned",
    "=1+1.png",
    "&a *a !!python/object:os.system",
]
MODEL: dict[str, Any] = {
    "network": {"provider": "builtin", "name": "small_cnn", "kwargs": {"width": 8}},
    "classes": ["cat", "dog"],
    "task": "multiclass",
    "preprocessing": {"image_size": 8, "channels": 1, "mean": [0.5], "std": [0.25], "way": "crop", "steps": []},
    "weights_sha256": "a" * 64,
    "precision": "32-true",
    "machine": {"device": "cpu"},
    "epoch": 3,
    "monitor": "val/accuracy",
    "score": 0.9,
    "data_sha256": {"raw": "b" * 64, "split": "c" * 64},
    "params": {
        "base": {"seed": 0, "allow_targets": []},
        "train": {
            "lr": 0.01,
            "threads": 2,
            "resize": "squash",
            "freeze": 0.0,
            "mixup": None,
            "ema": {"decay": 0.9},
            "swa": False,
        },
    },
    "packages": {"torch": "2.15.0"},
    "size": {"parameters": 94186, "trained": 94186, "multiply_adds": 609536},
}
DATASET: dict[str, Any] = {"source": "test", "name": "A set", "licence": "CC BY 4.0", "citation": None}
SPLIT: dict[str, Any] = {"images": {"train": 8, "val": 2, "test": 2, "left_out": 0}}
MEASURED = Measured(
    metrics={"val": {"accuracy": 0.5}, "test": {"accuracy": 0.75, "f1_macro": 0.7, "own": 0.1}},
    intervals={"test": {"accuracy": {"value": 0.75, "low": 0.6, "high": 0.8}}},
    per_class=[{"class": "cat", "f1": "0.5", "support": "1"}, {"class": "dog", "f1": "", "support": "1"}],
    calibration={"temperature": 1.25, "thresholds": None},
)


def changed(content: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return copy.deepcopy(content) | changes


def read_by_hub(card: str) -> Any:
    """Return the metadata as the library of the Hugging Face hub reads it."""
    return ModelCard(card).data


def outside_of_code(card: str) -> str:
    """Return what a Markdown reader takes for markup: no metadata, no block of code, no code span, each of which ends on its line."""
    body = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    body = re.sub(r"^```bash\n.*?^```$", "", body, flags=re.DOTALL | re.MULTILINE)
    return "\n".join(re.sub(r"`[^`]*`", "", line) for line in body.split("\n"))


def test_the_card_says_what_was_recorded() -> None:
    card = model_card(MODEL, DATASET, SPLIT, MEASURED)
    for text in (
        "# Model card: `small_cnn` on `A set`",
        "- Parameters: 94 186",
        "`cat`, `dog`",
        "- Licence: `CC BY 4.0`",
        "8 to train, 2 to validate, 2 to test",
        "- `train.lr`: `0.01`",
        '- `train.resize`: `"squash"`',
        '- `train.ema`: `{"decay": 0.9}`',
        "| `accuracy` | 0.5000 | 0.7500 (0.6000 to 0.8000) |",
        "- `temperature`: `1.25`",
        "Lowest F1 on test: `cat` 0.500 (1 images).",
        f"- model.safetensors: `{'a' * 64}`",
    ):
        assert text in card
    for absent in ("train.threads", "train.freeze", "train.mixup", "train.swa", "thresholds"):
        assert absent not in card


def test_the_hub_reads_the_results() -> None:
    data = read_by_hub(model_card(MODEL, DATASET, SPLIT, MEASURED))
    assert data.license == "unknown"
    assert data.tags == ["image-classification", "darkroom"]
    assert data.metrics == ["accuracy", "f1"]
    found = {(each.metric_name, each.metric_type, each.metric_value) for each in data.eval_results}
    assert found == {("Accuracy", "accuracy", 0.75), ("F1 (macro)", "f1", 0.7), ("Own", "own", 0.1)}
    assert {(each.task_type, each.dataset_name, each.dataset_split) for each in data.eval_results} == {
        ("image-classification", "A set", "test")
    }


@pytest.mark.parametrize(
    ("origin", "teacher", "licence"),
    [
        ("Apache-2.0", None, "apache-2.0"),
        ("apache-2.0", "apache-2.0", "apache-2.0"),
        ("apache-2.0", "mit", "other"),
        ("of our own", None, "other"),
    ],
)
def test_the_licence_is_that_of_the_weights(origin: str, teacher: str | None, licence: str) -> None:
    began = {key: value and {"source": "timm: x", "licence": value} for key, value in (("origin", origin), ("teacher", teacher))}
    card = model_card(changed(MODEL, **began), DATASET, SPLIT, MEASURED)
    assert read_by_hub(card).license == licence
    assert f"licence `{origin}`" in card


def test_a_data_set_of_the_hub_is_named_as_there() -> None:
    data = read_by_hub(model_card(MODEL, changed(DATASET, source="huggingface", name="owner/set"), SPLIT, MEASURED))
    assert data.datasets == ["owner/set"]
    assert data.eval_results[0].dataset_type == "owner/set"


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(name: str) -> None:
    model = changed(
        MODEL,
        classes=[name, "dog"],
        network={"provider": "timm", "name": name, "kwargs": {name: name}},
        origin={"source": name, "licence": name},
        positive_class=name,
        monitor=name,
        machine={"device": name},
    )
    model["params"]["train"]["optimizer"] = {"_target_": name}
    model["preprocessing"]["way"] = name
    measured = MEASURED._replace(
        metrics={"test": {name: 0.5}}, per_class=[{"class": name, "f1": "0.5", "support": "1"}], calibration={name: name}
    )
    card = model_card(model, changed(DATASET, name=name, licence=name, citation=name), SPLIT, measured)
    assert "<" not in card
    assert "`" not in outside_of_code(card)
    for text in ("evil", "license: mit", "!!python"):
        assert text not in outside_of_code(card)
    assert all(character.isprintable() or character == "\n" for character in card)
    assert card.count("\n#") == model_card(MODEL, DATASET, SPLIT, MEASURED).count("\n#")
    row = next(line for line in card.split("\n") if line.endswith("| 0.5000 |"))
    assert row.count("|") == 3
    metadata = YAML(typ="safe", pure=True).load(StringIO(card.split("\n---\n")[0].removeprefix("---\n")))
    assert metadata["license"] == "other"
    assert list(metadata) == ["license", "pipeline_tag", "tags", "metrics", "model-index"]
    assert read_by_hub(card).eval_results[0].metric_value == 0.5


LEAVES = [
    ("model", "classes", ["cat", "cow"]),
    ("model", "weights_sha256", "d" * 64),
    ("model", "epoch", 4),
    ("model", "score", 0.8),
    ("model", "task", "multilabel"),
    ("model", "data_sha256", {"raw": "e" * 64}),
    ("model", "precision", "bf16-mixed"),
    ("model", "packages", {"torch": "2.16.0"}),
    ("model", "size", None),
    ("model", "soup", [2, 3]),
    ("dataset", "licence", "MIT"),
    ("dataset", "citation", "Somebody"),
    ("split", "images", {"train": 9, "val": 2, "test": 2}),
]


@pytest.mark.parametrize(("part", "key", "value"), LEAVES)
def test_another_record_is_another_card(part: str, key: str, value: Any) -> None:
    parts = {"model": MODEL, "dataset": DATASET, "split": SPLIT}
    card = model_card(**parts, measured=MEASURED)
    assert model_card(**copy.deepcopy(parts), measured=MEASURED) == card
    assert model_card(**parts | {part: changed(parts[part], **{key: value})}, measured=MEASURED) != card


def test_another_number_is_another_card() -> None:
    card = model_card(MODEL, DATASET, SPLIT, MEASURED)
    for other in (
        MEASURED._replace(metrics={**MEASURED.metrics, "test": {**MEASURED.metrics["test"], "accuracy": 0.7501}}),
        MEASURED._replace(metrics={**MEASURED.metrics, "val": {"accuracy": 0.5001}}),
        MEASURED._replace(intervals={}),
        MEASURED._replace(per_class=[]),
        MEASURED._replace(calibration=None),
    ):
        assert model_card(MODEL, DATASET, SPLIT, other) != card


def test_images_of_no_trained_class_are_told_without_arrays() -> None:
    foreign = {"false_alarms": 0.04, "limit": 3.5, "directions": {"float32": "AAAA"}, "means": {"float32": "AAAA"}}
    calibration = {"temperature": 1.25, "thresholds": {"means": 0.5}, "conformal": {"coverage": 0.9}, "foreign": foreign}
    card = model_card(MODEL, DATASET, SPLIT, MEASURED._replace(calibration=calibration))
    assert '`{"false_alarms": 0.04, "limit": 3.5}`' in card
    assert '`{"means": 0.5}`' in card
    assert "AAAA" not in card
    assert "calls images `unknown` that are far from those of every class" in card
    assert "for any image, also for one that shows none of them" not in card


def test_the_card_is_written_from_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("model.json", MODEL), ("dataset.json", DATASET), ("split.json", SPLIT)):
        files.write_sealed_json(tmp_path / name, content)
    for name in ("MODELS", "RAW", "SPLIT"):
        monkeypatch.setattr(paths, name, tmp_path)
    (tmp_path / "per_class.csv").write_text("class,f1,support\ncat,0.5,1\ndog,,1\n")
    (tmp_path / "intervals.json").write_text(json.dumps(MEASURED.intervals))
    (tmp_path / "calibration.json").write_text(json.dumps(MEASURED.calibration))
    write_model_card(tmp_path / "README.md", MODEL, MEASURED.metrics, tmp_path, tmp_path / "calibration.json")
    assert (tmp_path / "README.md").read_text() == model_card(MODEL, DATASET, SPLIT, MEASURED)
