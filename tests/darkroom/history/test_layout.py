"""The table fits its terminal, and loses nothing but the ends of commits' messages."""

import pytest

from darkroom.history.layout import Line, render, shortened, width_of, wrapped

HEADINGS = Line("name", "", ("val accuracy", "test accuracy", "minutes", "age"), "changed against HEAD")
LINES = [
    Line(
        "HEAD, workspace",
        "First results, and what else there is to say about them",
        ("0.9167", "0.9184 ±0.0123", "12", "3 h"),
        "",
    ),
    Line(
        "search-0012, best of 20 trials",
        "",
        ("0.9611", "-", "240", "5 min"),
        "lr=0.003  batch_size=128  optimizer=SGD  mixup=0.2",
    ),
    Line("  search-0012", "", ("0.9611", "-", "12", "5 min"), "lr=0.003  batch_size=128  " + "x" * 150),
    Line("日本語の名前", "", ("0.9611", "-", "-", "now"), "name=日本語"),
]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_it_fits_a_terminal_and_shows_every_setting(width: int) -> None:
    table = render(LINES, HEADINGS, width)
    assert max(map(width_of, table)) <= width
    text = "".join("".join(table).split())
    for line in LINES:
        for part in (*line.name.split(), *(piece for piece in line.changes.split() if len(piece) < 20)):
            assert part in text
    assert text.count("x") >= 150
    assert not any(line != line.rstrip() for line in table)


def test_a_wide_table_has_a_line_for_each_row() -> None:
    table = render(LINES[:2], HEADINGS, 120)
    assert table == [
        "name                              val accuracy  test accuracy   minutes  age    changed against HEAD",
        "HEAD, workspace First results,…   0.9167        0.9184 ±0.0123  12       3 h",
        "search-0012, best of 20 trials    0.9611        -               240      5 min  lr=0.003  batch_size=128  optimizer=SGD",
        " " * 80 + "mixup=0.2",
    ]


def test_a_narrow_one_has_the_changes_below() -> None:
    table = render(LINES[1:2], HEADINGS, 80)
    assert table[2:] == [
        "search-0012, best of 20 trials  0.9611        -              240      5 min",
        "    lr=0.003  batch_size=128  optimizer=SGD  mixup=0.2",
    ]


def test_a_very_narrow_one_leaves_columns_out() -> None:
    table = render(LINES[1:2], HEADINGS, 50)
    assert "val accuracy" in table[0]
    assert "age" not in table[0]


def test_long_names_go_on_below() -> None:
    table = render([LINES[1]._replace(name="n" * 120)], HEADINGS, 120)
    assert [line.split()[0].count("n") for line in table[1:]] == [44, 44, 32]
    assert "0.9611" in table[1]
    assert table[1].endswith("lr=0.003  batch_size=128")


def test_wide_characters_take_two_columns() -> None:
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1
    assert shortened("日本語", 5) == "日本…"
    assert list(wrapped(["日本語"], 4)) == ["日本", "語"]
    assert list(wrapped([], 4)) == [""]
