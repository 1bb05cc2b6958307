"""The data card is complete, and no name in it becomes markup."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from darkroom.reporting.card import data_card
from darkroom.reporting.contents import Contents

MakeContents = Callable[..., Contents]
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    "[a](https://evil.example)",
    "![a](https://evil.example/a.png)",
    "a | b | c",
    "``` code",
    "`a` <b>",
    "two\nlines\n# a title",
    "www.evil.example",
    "me@evil.example",
    "\u202eturned",
    "back\\",
]


def outside_of_code(card: str) -> str:
    """Return what a Markdown reader takes for markup: everything but code spans, each of which must end on its line."""
    return "\n".join(re.sub(r"`[^`]*`", "", line) for line in card.split("\n"))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup(make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any], name: str) -> None:
    skipped = [{"id": name, "reason": name}]
    changes = {
        "name": name,
        "licence": name,
        "citation": name,
        "url": name,
        "arguments": {name: name},
        "skipped": skipped,
        "converted": {name: 1},
        "corrected": [{"id": name, "given": name, "label": name}],
        "removed": [name],
    }
    card = data_card(make_contents(classes=[name, "b"]), dataset | changes, split)
    plain = data_card(make_contents(), dataset | changes | dict.fromkeys(("name", "licence", "citation", "url"), "x"), split)
    assert "<" not in card
    assert "`" not in outside_of_code(card)
    assert not re.search(r"evil\.example", outside_of_code(card))
    assert all(character.isprintable() or character == "\n" for character in card)
    assert card.count("\n#") == plain.count("\n#")
    row = next(line for line in card.split("\n") if line.endswith("| 4 | 1 | 1 | 0 |"))
    assert row.count("|") == 6
    assert card == data_card(make_contents(classes=[name, "b"]), dataset | changes, split)


def test_the_numbers_are_there(make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]) -> None:
    card = data_card(make_contents(channels=3), dataset | {"width": 8, "height": 9}, split)
    for text in (
        "# Data card: `A set`",
        "- Licence: `CC BY 4.0`",
        "| train | 8 | 66.7% |",
        "| `b` | 4 | 1 | 1 | 0 |",
        "All images are 8 x 9 pixels, in colour",
        "| blue | 0.2500 | 0.1250 |",
        "None.",
        "## Duplicates\n\nNone.",
        "- folds: `null`",
        "- seed: `3`",
        f"- data/split/manifest.csv: `{'f' * 64}`",
    ):
        assert text in card
    assert "Citation" not in card


def test_images_of_several_classes_count_once(
    make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]
) -> None:
    labels = np.array([[1, 1]] * 6 + [[0, 0]] + [[1, 0]] * 5, np.uint8)
    card = data_card(make_contents(labels=labels), dataset, split)
    for text in (
        "| train | 8 | 66.7% |",
        "| val | 2 | 16.7% |",
        "| total | 12 | 100.0% |",
        "| `a` | 7 | 2 | 2 | 0 |",
        "1.42 on average; 1 images have none",
    ):
        assert text in card


def test_skipped_converted_and_duplicate_images_are_listed(
    make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]
) -> None:
    skipped = [{"id": f"{number}.jpg", "reason": "is empty"} for number in range(25)]
    found = {"equal": 2, "near": 0, "across_splits": 1, "conflicts": 1}
    card = data_card(
        make_contents(), dataset | {"skipped": skipped, "converted": {"cmyk": 4}, "ignored": ["a"]}, split | {"duplicates": found}
    )
    for text in ("- `cmyk`: 4 converted", "- `19.jpg`: skipped, `is empty`", "- and 5 more skipped", "- 1 files ignored"):
        assert text in card
    assert "`20.jpg`" not in card
    assert "- Pairs of identical images: 2\n" in card
    assert "## Duplicates\n\nNone." not in card


def test_an_unknown_licence_is_unknown_and_a_path_is_not_shown(
    make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]
) -> None:
    card = data_card(make_contents(), dataset | {"name": "/home/somebody/flowers", "licence": None}, split)
    assert "# Data card: `flowers`" in card
    assert "somebody" not in card
    assert "- Licence: `unknown`" in card
    assert "`data/photos`" in data_card(make_contents(), dataset | {"name": "data/photos"}, split)


def test_of_many_classes_the_ends_are_shown(make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]) -> None:
    labels = np.repeat(np.arange(300), np.arange(1, 301))
    contents = make_contents(classes=[f"c{label}" for label in range(300)], labels=labels, splits=np.full(len(labels), "train"))
    card = data_card(contents, dataset, split)
    rows = [line for line in card.split("\n") if line.startswith("| `c")]
    assert len(rows) == 20
    assert rows[0] == "| `c299` | 300 | 0 | 0 | 0 |"
    assert rows[-1] == "| `c0` | 1 | 0 | 0 | 0 |"
    assert "the largest has 300.00 times as many training images as the smallest" in card


def test_a_long_name_is_cut(make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]) -> None:
    card = data_card(make_contents(classes=["x" * 5000, "b"]), dataset, split)
    assert max(map(len, card.split("\n"))) < 300


def test_corrections_are_counted_and_listed(make_contents: MakeContents, dataset: dict[str, Any], split: dict[str, Any]) -> None:
    corrected = [{"id": f"{number}.png", "given": "a", "label": "b"} for number in range(60)]
    card = data_card(make_contents(), dataset | {"corrected": corrected, "removed": ["x.png"]}, split)
    assert "## Corrected labels\n\n`download.corrections` changed 60 label(s) and left 1 image(s) out" in card
    assert "- `0.png`: `a` -> `b`\n" in card
    assert "- and 11 more, see `data/raw/dataset.json`" in card
    assert "Corrected labels" not in data_card(make_contents(), dataset, split)
