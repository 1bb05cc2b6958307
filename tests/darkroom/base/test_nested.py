"""Nested mappings become dotted keys, and nothing is lost on the way."""

from pathlib import Path

import pytest

from darkroom.base.nested import flatten, outputs_of, read_stages


def test_leaves_have_dotted_keys_in_order() -> None:
    content = {"train": {"lr": 0.1, "model": {"name": "small_cnn", "kwargs": {}}, "augment": [{"pixels": 1}]}, "seed": 0}
    assert list(flatten(content)) == [
        ("train.lr", 0.1),
        ("train.model.name", "small_cnn"),
        ("train.model.kwargs", {}),
        ("train.augment", [{"pixels": 1}]),
        ("seed", 0),
    ]


def test_a_section_keeps_its_key_and_a_leaf_stands_alone() -> None:
    assert dict(flatten({"a": {1: None}}, "base")) == {"base.a.1": None}
    assert list(flatten(3, "base.seed")) == [("base.seed", 3)]
    assert list(flatten({}, "base")) == [("base", {})]


PIPELINE = """
stages:
  train: {cmd: python src/train.py, outs: [models]}
  export:
    foreach: ${export.formats}
    do:
      cmd: python src/export.py
      deps: [models]
      outs: ["models/exported/${item}"]
      metrics: ["metrics/${item}.json": {cache: false}]
"""


@pytest.mark.parametrize("params", ["export: {formats: []}", "export: {formats: onnx}", "export: 3", "{}"])
def test_an_empty_list_stands_for_no_stage(params: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text(params)
    assert list(read_stages(tmp_path / "dvc.yaml")) == ["train"]


def test_each_item_stands_for_a_stage_named_as_dvc_names_it(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("export: {formats: [onnx, torch]}")
    stages = read_stages(tmp_path / "dvc.yaml")
    assert list(stages) == ["train", "export@onnx", "export@torch"]
    assert outputs_of(stages["export@torch"]) == ["models/exported/torch", "metrics/torch.json"]
