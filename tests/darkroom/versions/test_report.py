"""The lines of the report, and the complete table."""

import csv
from pathlib import Path

import pyarrow as pa

from darkroom.versions.datasets import TEXT, Dataset
from darkroom.versions.differences import compare
from darkroom.versions.report import COLUMNS, lines, write_table
from darkroom.versions.revisions import Revision

OLD = Revision("main", "1234567890", frozenset(), lambda _: b"")
NOW = Revision("workspace", None, frozenset(), lambda _: b"")


def dataset(rows: list[tuple[str, str, str, bytes]], classes: list[str], why: str | None = None) -> Dataset:
    columns = zip(
        ("id", "class", "split", "pixel_hash"), zip(*rows, strict=True), (TEXT, TEXT, TEXT, pa.large_binary()), strict=True
    )
    return Dataset(classes, pa.table({name: pa.array(values, kind) for name, values, kind in columns}), why)


BEFORE = dataset(
    [("a/1", "a", "train", b"1"), ("a/2", "a", "train", b"2"), ("a/3", "a", "val", b"3"), ("a/\x074", "a", "test", b"4")],
    ["a", "\x1b"],
)
AFTER = dataset(
    [("b/1", "=b", "test", b"1"), ("a/2", "a", "train", b"5"), ("a/3", "a", "val", b"3"), ("=9", "a", "train", b"9")], ["=b", "a"]
)


def test_lines() -> None:
    assert list(lines(compare(BEFORE, AFTER), OLD, NOW, 20)) == [
        "data: main (1234567) -> workspace",
        "images: 4 -> 4, 1 unchanged",
        "classes: 2 -> 2, 1 new, 1 gone",
        "  new   =b",
        "  gone  \\x1b",
        "added: 1",
        "  =9  a  train",
        "removed: 1",
        "  a/\\x074  a  test",
        "relabelled: 1",
        "  a/1 -> b/1  a -> =b  train -> test",
        "moved: 1",
        "  a/1 -> b/1  a -> =b  train -> test",
        "renamed: 0",
        "replaced: 1",
        "  a/2  a  train",
    ]


def test_images_of_no_class() -> None:
    before = dataset([("1", "", "train", b"1"), ("2", "", "train", b"2"), ("3", "a; b", "val", b"3")], ["a", "b"])
    after = dataset([("2", "a; b", "train", b"2"), ("3", "", "val", b"3"), ("4", "", "", b"4")], ["a", "b"])
    shown = list(lines(compare(before, after), OLD, NOW, 20))
    for line in ("  4  none", "  1  none  train", "  2  none -> a; b  train", "  3  a; b -> none  val"):
        assert line in shown


def test_a_long_list_is_cut_and_aligned() -> None:
    many = dataset([(f"{number}", "a", "train", bytes([number])) for number in range(98, 103)], ["a"])
    none = dataset([("x", "a", "train", b"x")], ["a"])
    shown = list(lines(compare(none, many), OLD, NOW, 3))
    start = shown.index("added: 5")
    assert shown[start + 1 : start + 5] == [
        "  98   a  train",
        "  99   a  train",
        "  100  a  train",
        "  … and 2 more (--all, --csv FILE)",
    ]
    assert not any("more" in line for line in lines(compare(none, many), OLD, NOW, 5))
    shown = list(lines(compare(none, many), OLD, NOW, None))
    assert [line for line in shown if "more" in line] == []
    assert shown[start + 5] == "  102  a  train"
    names = [chr(code) for code in range(97, 103)]
    classes = compare(dataset([("x", "a", "train", b"x")], ["a"]), dataset([("x", "a", "train", b"x")], names))
    assert "  … and 2 more (--all, --csv FILE)" in list(lines(classes, OLD, NOW, 3))


def test_what_is_not_known_is_said() -> None:
    row = [("x", "a", "", b"x")]
    shown = list(lines(compare(dataset(row, ["a"], "main has no split yet"), dataset(row, ["a"])), OLD, NOW, 20))
    assert "moved: unknown, since main has no split yet" in shown
    assert "classes: 1, unchanged" in shown
    shown = list(lines(compare(dataset(row, ["a", "b"]), dataset(row, ["b", "a"])), OLD, NOW, 20))
    assert "classes: 2 -> 2, in another order" in shown


def test_the_table_is_complete_and_runs_no_formula(tmp_path: Path) -> None:
    write_table(tmp_path / "x.csv", compare(BEFORE, AFTER))
    with (tmp_path / "x.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == COLUMNS
    assert rows == [
        ["new class", "", "", "", "'=b", "", "", "", ""],
        ["class gone", "", "", "\x1b", "", "", "", "", ""],
        ["added", "", "'=9", "", "a", "", "train", "", "3"],
        ["removed", "a/\x074", "", "a", "", "test", "", "3", ""],
        ["relabelled", "a/1", "b/1", "a", "'=b", "train", "test", "0", "0"],
        ["moved", "a/1", "b/1", "a", "'=b", "train", "test", "0", "0"],
        ["replaced", "a/2", "a/2", "a", "a", "train", "train", "1", "1"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
