"""Nested mappings become dotted keys, and nothing is lost on the way."""

from darkroom.base.nested import flatten


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
