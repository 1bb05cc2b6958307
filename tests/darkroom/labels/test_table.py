"""The table goes to a person and comes back: an untouched row changes nothing, and no correction is lost."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.base.errors import InputError
from darkroom.data.pack import Pack
from darkroom.labels.suspects import Suspect, Suspects
from darkroom.labels.table import check_out, write_table
from darkroom.sources.corrections.table import read_corrections

FOUND = [
    Suspect(0, "a.png", "cat", "cat", "dog", 0.98, 0.01),
    Suspect(1, "=b.png", "cat", "cat", "dog", 0.60, 0.4),
    Suspect(2, "c.png", "cat", "dog", "cat", 0.99, 0.01),  # corrected before
    Suspect(3, "d.png", "dog", "dog", "dog", 0.99, 0.99, "same pixels as a.png (cat)"),
]
SUSPECTS = Suspects(FOUND, 10, 1.4, [])
DATASET = {
    "corrected": [{"id": "c.png", "given": "cat", "label": "dog"}, {"id": "e.png", "given": "dog", "label": "cat"}],
    "removed": ["f.png"],
}


def changes(out: Path) -> list[tuple[str, str]]:
    return [(row.id, row.label) for row in read_corrections(str(out)).rows]


def test_an_untouched_table_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    assert write_table(out, SUSPECTS, {}, None) == 0
    assert changes(out) == [("c.png", "dog")]  # as it was
    with out.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "given", "proposed", "confidence", "label", "note"]
    assert rows[0] == {"id": "a.png", "given": "cat", "proposed": "dog", "confidence": "0.9800", "label": "cat", "note": ""}
    assert rows[1]["id"] == "'=b.png"
    assert out.read_bytes().startswith(b"\xef\xbb\xbf")  # for Excel


def test_corrections_in_force_are_written_again(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    write_table(out, SUSPECTS, DATASET, None)
    assert changes(out) == [("c.png", "dog"), ("e.png", "cat"), ("f.png", "remove")]


def test_confident_proposals_are_accepted_but_for_what_a_person_decided(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    assert write_table(out, SUSPECTS, {}, 0.95) == 1
    assert changes(out) == [("a.png", "dog"), ("c.png", "dog")]


@pytest.fixture
def pack(make_pack: Callable[..., Pack]) -> Pack:
    return make_pack([(number % 2, "train", number) for number in range(4)])


def test_corrections_that_data_raw_does_not_have_are_not_lost(tmp_path: Path, pack: Pack) -> None:
    out = tmp_path / "labels.csv"
    check_out(out, pack)
    out.write_text("id,given,label\n00000,class 1,class 0\n00001,class 1,class 1\ngone,class 1,remove\n")
    check_out(out, pack)  # all of them are in force, or leave a label as it is
    out.write_text("id,given,label\n00000,class 0,class 1\n00001,class 1,remove\n")
    with pytest.raises(
        InputError, match=r"labels.csv has 2 correction\(s\) that data/raw does not have, such as of '00000'; run"
    ):
        check_out(out, pack)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "labels.csv",
            "path,class\nx,y\n",
            "exists and is no table of corrections (.*has no column 'label'.*); name another file",
        ),
        ("labels.txt", "", "does not end with .csv; name such a file"),
    ],
)
def test_no_other_file_is_replaced(tmp_path: Path, pack: Pack, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        check_out(tmp_path / name, pack)
    assert (tmp_path / name).read_text() == text
