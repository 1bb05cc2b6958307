"""The table of corrections: rows that change a label are taken as people and spreadsheets write them, doubtful ones are refused."""

import json
from pathlib import Path

import pytest

from darkroom.base.errors import InputError
from darkroom.sources.corrections.table import NONE, Correction, cell_of, read_corrections

ROWS = [("id", "given", "label"), ("a/1.png", "cat", "dog"), ("a/2.png", "cat", "cat"), ("=b/3.png", "dog", "remove")]
CHANGED = [("a/1.png", "cat", "dog"), ("=b/3.png", "dog", "remove")]


def found(name: str) -> list[tuple[str, str | None, str]]:
    return [(row.id, row.given, row.label) for row in read_corrections(name).rows]


def text(delimiter: str = ",", end: str = "\n") -> str:
    return "".join(delimiter.join(row) + end for row in ROWS)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("labels.csv", text().encode()),
        ("excel.csv", ("\ufeff" + text(";", "\r\n") + ";;\r\n").encode()),
        ("labels.tsv", text("\t").encode()),
        ("labels.jsonl", "\n".join(json.dumps(dict(zip(ROWS[0], row, strict=True))) for row in ROWS[1:]).encode()),
        ("path.csv", text().replace("id,given,label", "Path, Given ,LABEL").encode()),
    ],
)
def test_rows_that_change_a_label_are_taken(root: Path, name: str, data: bytes) -> None:
    (root / name).write_bytes(data)
    assert found(name) == CHANGED


def test_a_table_without_rows_changes_nothing(root: Path) -> None:
    (root / "labels.csv").write_text("id,given,label\n")
    assert read_corrections("labels.csv").rows == ()


def test_the_table_of_a_new_clone_has_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the root of the tests
    assert read_corrections(NONE).rows == ()


def test_a_table_by_hand_needs_no_given_label(root: Path) -> None:
    (root / "labels.csv").write_text("path,label\na/1.png,  dog \n")
    assert read_corrections("labels.csv").rows == (Correction(2, "a/1.png", None, "dog"),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,label\nx,dog\n", "labels.csv: has no column 'id' (its columns are name, label); add it"),
        ("id,lable\nx,dog\n", "labels.csv: has no column 'label' (did you mean 'lable'?); add it"),
        ("id,label\n,dog\n", "labels.csv: row 2 has no id; add it, or remove the row"),
        ("id,label\nx,dog\nx,cat\n", "labels.csv: rows 2 and 3 are of one image, 'x'; remove one of them"),
        ("id,label\nx,dog,3\n", "labels.csv: cannot be read (line 2 has 3 cells, the first line 2); correct it"),
        ("", "labels.csv: has no column 'id' (its columns are none); add it"),
    ],
)
def test_a_doubtful_table_is_one_line(root: Path, content: str, message: str) -> None:
    (root / "labels.csv").write_text(content)
    with pytest.raises(InputError) as error:
        read_corrections("labels.csv")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost.csv", f"lost.csv does not exist; correct it, or set it to {NONE}"),
        ("folder", f"folder is no file; correct it, or set it to {NONE}"),
        ("s3://bucket/labels.csv", "s3://bucket/labels.csv is an address; copy the table here, where DVC watches it"),
    ],
)
def test_a_table_that_is_not_there_is_one_line(root: Path, name: str, message: str) -> None:
    (root / "folder").mkdir()
    with pytest.raises(InputError) as error:
        read_corrections(name)
    assert str(error.value) == f"params.yaml: download.corrections: {message}"


def test_a_cell_is_no_formula() -> None:
    assert (cell_of("=cmd"), cell_of("a/1.png")) == ("'=cmd", "a/1.png")
