"""What a row changes, in few words."""

import pytest
from hand_made import PARAMS, Work, params_with, results

from darkroom.history.changes import changes_text, short_names, value_text


def test_names_are_as_short_as_they_can_be() -> None:
    keys = [
        "train.lr",
        "train.optimizer._target_",
        "train.optimizer.lr",
        "train.batch_size",
        "evaluate.batch_size",
        "base.seed",
        "split.seed",
    ]
    assert short_names(keys) == {
        "train.lr": "train.lr",
        "train.optimizer._target_": "optimizer",
        "train.optimizer.lr": "optimizer.lr",
        "train.batch_size": "batch_size",
        "evaluate.batch_size": "evaluate.batch_size",
        "base.seed": "base.seed",
        "split.seed": "split.seed",
    }


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.lr", 0.0123456, "0.01235"),
        ("train.epochs", 20, "20"),
        ("train.optimizer._target_", "torch.optim.SGD", "SGD"),
        ("train.mixup", None, "null"),
        ("train.freeze", True, "true"),
        ("train.model.name", "a\x1b[31mred\nline\u202e", "a\\x1b[31mred\\nline\\u202e"),
        ("train.model.name", "x" * 70, "x" * 59 + "…"),
        ("train.augment", [{"_target_": "a.B"}], '[{"_target_": "a.B"}]'),
        ("train.model.name", "\udc80", "\\udc80"),
    ],
)
def test_values_are_one_short_printable_line(key: str, value: object, expected: str) -> None:
    assert value_text(key, value) == expected


def changes(work: Work, name: str) -> str:
    overview = work.show(name)
    (row,) = overview.rows
    return changes_text(row, overview.reference, short_names([*row.params, *overview.reference.params]))


def test_other_code_with_the_same_result_is_the_code_of_head(work: Work) -> None:
    work.commit(results(0.90, 0.91, weights="5" * 32), "First results")
    work.commit(results(0.90, 0.91, weights="5" * 32, code="8" * 32), "A comment")
    work.experiment("after", results(0.8, 0.8, code="8" * 32))
    assert changes(work, "after") == ""
    assert [row.subject for row in work.show("HEAD").rows] == ["First results"]


def test_changes_are_relative_to_head_and_show_other_code_and_data(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.experiment("slow", results(0.8, 0.8, params=params_with(lr=0.003, batch_size=32)))
    work.experiment("optimizer", results(0.8, 0.8, params=PARAMS.replace("AdamW", "SGD").replace("    weight_decay: 0.01\n", "")))
    work.experiment("more", results(0.8, 0.8, params=PARAMS.replace("  monitor:", "  mixup: 0.2\n  monitor:")))
    work.experiment("code", results(0.8, 0.8, code="8" * 32))
    work.experiment("data", results(0.8, 0.8, raw="8" * 32))
    work.experiment("same", results(0.8, 0.8, params=PARAMS.replace("watch: true", "watch: false")))
    found = {name: changes(work, name) for name in ("slow", "optimizer", "more", "code", "data", "same", "HEAD")}
    assert found == {
        "slow": "lr=0.003  batch_size=32",
        "optimizer": "optimizer=SGD",
        "more": "mixup=0.2",
        "code": "code",
        "data": "data",
        "same": "",
        "HEAD": "",
    }
