"""Tables of images and labels: what they say is taken, what is doubtful is refused with the row."""

import datetime
import decimal
import io
import json
import unicodedata
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import Columns, DownloadParams
from darkroom.data.pack import Pack
from darkroom.sources.entries import FilesBelow
from darkroom.sources.manifest import list_manifest, read_table
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

ROWS: list[dict[str, Any]] = [
    {"path": "p/1.png", "label": "cat", "patient": "x", "part": "train", "age": 3},
    {"path": "p/2.png", "label": "dog", "patient": "x", "part": "train", "age": None},
    {"path": "q/3.png", "label": "cat", "patient": "", "part": "test", "age": 5},
    {"path": "q/4.png", "label": "dog", "patient": "y", "part": "Validation", "age": 7},
]
COLUMNS = {"path": None, "label": None, "group": "patient", "split": "part", "separator": None}


def csv_of(rows: list[dict[str, Any]], delimiter: str = ",", start: str = "") -> bytes:
    lines = [list(rows[0]), *(["" if cell is None else str(cell) for cell in row.values()] for row in rows)]
    return (start + "\r\n".join(delimiter.join(line) for line in lines)).encode()


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    table = pa.Table.from_pylist(rows)
    place = table.column_names.index("age")
    pq.write_table(table.set_column(place, "age", table["age"].cast(pa.float64())), file)
    return file.getvalue()


TABLES = {
    "a.csv": csv_of(ROWS),
    "semicolons.csv": csv_of(ROWS, ";", "\ufeff"),
    "a.tsv": csv_of(ROWS, "\t"),
    "a.jsonl": "\n".join(json.dumps(row) for row in ROWS).encode(),
    "A.Parquet": parquet_of(ROWS),
}


@pytest.fixture
def pack(root: Path, download: Callable[..., DownloadParams], image: Callable[..., bytes]) -> Callable[..., Pack]:
    """Pack the images of ROWS by a table, from a folder or, with `archive`, from a zip."""

    def run(name: str, table: bytes, *, archive: str | None = None, **changes: Any) -> Pack:
        content = {row["path"]: image(number) for number, row in enumerate(ROWS)} | {name: table}
        if archive is None:
            for path, data in content.items():
                (root / "set" / path).parent.mkdir(parents=True, exist_ok=True)
                (root / "set" / path).write_bytes(data)
            changes |= {"source": "manifest", "folder": "set", "manifest": name}
        else:
            with zipfile.ZipFile(root / "set.zip", "w") as file:
                for path, data in content.items():
                    file.writestr(f"{archive}{path}", data)
            digest = sha256((root / "set.zip").read_bytes()).hexdigest()
            changes |= {"source": "archive", "archive": "set.zip", "sha256": digest, "manifest": name}
        params = download(**changes)
        with files.replaced_dir(root / "raw") as directory, read_source(params, directory) as listing:
            write_pack(listing, directory, params)
        return Pack.open(root / "raw")

    return run


@pytest.mark.parametrize("archive", [None, "", "wrapped/"])
@pytest.mark.parametrize("name", TABLES)
def test_tables_of_every_kind(name: str, archive: str | None, pack: Callable[..., Pack]) -> None:
    packed = pack(name, TABLES[name], archive=archive, columns=COLUMNS)
    assert packed.ids == ["p/1.png", "p/2.png", "q/4.png", "q/3.png"]
    assert packed.splits.tolist() == ["train", "train", "val", "test"]
    assert [packed.classes[label] for label in packed.labels] == ["cat", "dog", "dog", "cat"]
    assert packed.groups == ["x", "x", "y", None]
    assert packed.extra(np.array([0, 1, 3])) == [{"age": "3"}, {"age": ""}, {"age": "5"}]


def test_columns_of_usual_names_are_taken_and_others_carried_along(
    pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str]
) -> None:
    packed = pack("a.csv", TABLES["a.csv"])
    assert packed.splits.tolist() == ["train", "train", "val", "test"]
    assert packed.groups == ["x", "x", "y", None]
    assert packed.extra(np.array([1])) == [{"age": ""}]
    said = (
        "set/a.csv: takes groups from its column 'patient' and splits from its column 'part'; set download.columns.group to false"
    )
    assert said in capsys.readouterr().out


def test_columns_that_are_not_wanted_are_carried_along(pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str]) -> None:
    packed = pack("a.csv", TABLES["a.csv"], columns=COLUMNS | {"group": False, "split": False})
    assert packed.splits.tolist() == ["train"] * 4
    assert packed.groups == [None] * 4
    assert packed.extra(np.array([1])) == [{"patient": "x", "part": "train", "age": ""}]
    assert capsys.readouterr() == ("", "")


def test_numbers_are_ordered_by_value(pack: Callable[..., Pack]) -> None:
    rows = [row | {"label": label} for row, label in zip(ROWS, ("10", "9", "9", "100"), strict=True)]
    assert pack("a.csv", csv_of(rows)).classes == ["9", "10", "100"]


def test_names_of_all_kinds(root: Path, pack: Callable[..., Pack], image: Callable[..., bytes]) -> None:
    names = ["ä b.png", 'quo"te.png', "new\nline.png", "comma,.png"]
    for number, name in enumerate(names):
        (root / "set").mkdir(exist_ok=True)
        (root / "set" / name).write_bytes(image(number))
    quoted = [name.replace('"', '""') for name in names]
    table = "file,class\n" + "\n".join(f'"{name}",{"=cmd" if number % 2 else "ü"}' for number, name in enumerate(quoted))
    packed = pack("a.csv", table.encode())
    assert packed.ids == ["comma,.png", "new\\x0aline.png", 'quo"te.png', "ä b.png"]
    assert packed.classes == ["=cmd", "ü"]


def test_an_image_that_is_missing_is_a_bad_one(pack: Callable[..., Pack]) -> None:
    table = csv_of([*ROWS, {"path": "no/5.png", "label": "cat"} | {key: "train" for key in ("patient", "part", "age")}])
    with pytest.raises(InputError, match=r"1 unreadable image\(s\), .* \('no/5\.png' cannot be read \(No such file"):
        pack("a.csv", table)
    assert len(pack("a.csv", table, max_bad=1)) == 4
    with pytest.raises(InputError, match=r"'no/5\.png' does not exist"):
        pack("a.csv", table, archive="", max_bad=0)


LAST = ROWS[3]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "has no rows"),
        (b"path,label\n", "has no rows; add a row for each image"),
        (b"path,label\np/1.png\n", "cannot be read (line 2 has 1 cells, the first line 2)"),
        (b"path,path,label\np/1.png,a,b\n", "has two columns called 'path'; rename one of them"),
        (b"path,label,split\n\xff,a,b\n", "is not UTF-8 (byte 17); save it as UTF-8"),
        (b'path,label\n"p/1.png,a\n', "cannot be read"),
        (
            b"photograph,label\np/1.png,a\n",
            "has no column (of photograph, label) that may be the path; name it in download.columns.path",
        ),
        (
            b"path,label,class\np,a,b\n",
            "has several columns (label, class) that may be the label; name it in download.columns.label",
        ),
        (csv_of([*ROWS, LAST | {"label": " "}]), "row 6 has no label; add one, or remove the row"),
        (csv_of([*ROWS, LAST | {"path": ""}]), "row 6 has no path; add one, or remove the row"),
        (csv_of([*ROWS, LAST]), "row 6 repeats the path 'q/4.png' of another row; remove one of them"),
        (csv_of([*ROWS, LAST | {"path": "./q/4.png"}]), "row 6 repeats the path 'q/4.png' of another row"),
        (csv_of([*ROWS, LAST | {"path": "../q/4.png"}]), "row 6: '../q/4.png' leaves the folder of the table"),
        (csv_of([*ROWS, LAST | {"path": "/q/4.png"}]), "row 6: '/q/4.png' leaves the folder of the table"),
        (csv_of([*ROWS[:2]]).replace(b"dog", b"cat"), "holds 1 class(es); a classifier needs at least two"),
    ],
)
def test_what_is_refused(table: bytes, message: str, pack: Callable[..., Pack]) -> None:
    with pytest.raises(InputError) as caught:
        pack("a.csv", table)
    assert str(caught.value).startswith("set/a.csv: ")
    assert message in str(caught.value)


def test_splits_that_are_unknown_are_refused(pack: Callable[..., Pack]) -> None:
    with pytest.raises(InputError, match=r"set/a\.csv: row 3 has the unknown split 'tarin'; use train, val, test"):
        pack("a.csv", TABLES["a.csv"].replace(b"dog,x,train", b"dog,x,tarin"), columns=COLUMNS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"columns": COLUMNS | {"group": "sight"}},
            "download.columns.group: set/a.csv has no column 'sight'; it has path, label",
        ),
        ({"manifest": "b.csv"}, "download.manifest: set/b.csv does not exist; correct it"),
        ({"manifest": "p"}, "download.manifest: set/p is not a file; correct it"),
        ({"manifest": "../a.csv"}, "download.manifest: ../a.csv is outside of download.folder (set), which DVC watches"),
    ],
)
def test_wrong_parameters(changes: dict[str, Any], message: str, pack: Callable[..., Pack], download: Any, root: Path) -> None:
    pack("a.csv", TABLES["a.csv"])
    (root / "a.csv").write_bytes(b"")
    params = download(**({"source": "manifest", "folder": "set", "manifest": "a.csv"} | changes))
    with pytest.raises(InputError) as caught, read_source(params, root):
        pass
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.xlsx", b"PK", "has an unknown file type; save it as .csv, .tsv, .jsonl, .ndjson, .parquet"),
        ("a", b"", "has an unknown file type"),
        ("a.jsonl", b"[1]", "cannot be read (line 1 is not an object)"),
        ("a.jsonl", b'{"path": 1}\n{', "cannot be read"),
        ("a.jsonl", b"[" * 100_000, "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read"),
    ],
)
def test_damaged_tables(name: str, data: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_table(name, data, "set")
    assert str(caught.value).startswith(f"set: {message}")


def test_a_table_in_an_archive_has_to_be_there_once(pack: Callable[..., Pack], root: Path, download: Any) -> None:
    pack("a.csv", TABLES["a.csv"], archive="")
    digest = sha256((root / "set.zip").read_bytes()).hexdigest()
    params = download(source="archive", archive="set.zip", sha256=digest, manifest="b.csv")
    message = r"download\.manifest: set\.zip has no file 'b\.csv'; set it to the path in the archive"
    with pytest.raises(InputError, match=message), read_source(params, root):
        pass


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_several_labels(kind: str, pack: Callable[..., Pack]) -> None:
    labels = [["cat", "dog"], [], ["dog"], ["ant"]]
    if kind == "csv":
        table = csv_of([row | {"label": " | ".join(each)} for row, each in zip(ROWS, labels, strict=True)])
    else:
        table = "\n".join(json.dumps(row | {"label": each}) for row, each in zip(ROWS, labels, strict=True)).encode()
    packed = pack(f"a.{kind}", table, columns=COLUMNS | {"separator": "|"})
    assert packed.classes == ["ant", "cat", "dog"]
    by_id = dict(zip(packed.ids, packed.labels.tolist(), strict=True))
    assert by_id == {"p/1.png": [0, 1, 1], "p/2.png": [0, 0, 0], "q/3.png": [0, 0, 1], "q/4.png": [1, 0, 0]}


def table_of(rows: list[dict[str, str]]) -> bytes:
    return csv_of([{"path": each["path"], "label": each["label"], **row} for each, row in zip(ROWS, rows, strict=True)])


@pytest.mark.parametrize("column", ["split", "Set", "sub_set", "Data Split", "PARTITION", "fold"])
def test_splits_of_usual_names_are_taken(column: str, pack: Callable[..., Pack]) -> None:
    packed = pack("a.csv", table_of([{column: split} for split in ("train", "TEST", "val", "training")]))
    assert dict(zip(packed.ids, packed.splits.tolist(), strict=True)) == {
        "p/1.png": "train",
        "p/2.png": "test",
        "q/3.png": "val",
        "q/4.png": "train",
    }


@pytest.mark.parametrize(
    ("column", "cells"),
    [("fold", "0123"), ("set", ("s1", "s2", "s1", "s2")), ("origin", ("train", "test", "train", "val")), ("is_valid", "0101")],
)
def test_splits_that_are_not_taken_are_named(
    column: str, cells: Any, pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str]
) -> None:
    packed = pack("a.csv", table_of([{column: cell} for cell in cells]))
    assert packed.splits.tolist() == ["train"] * 4
    assert f"warning: set/a.csv: its column '{column}' (" in capsys.readouterr().err
    pack("a.csv", table_of([{column: cell} for cell in cells]), columns=COLUMNS | {"group": None, "split": False})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("train",), ("test",), ("",), ("val",)],
            "its column 'split' says test of some images and '' of others; use train, val, test",
        ),
        ([("train",), ("holdout",), ("test",), ("val",)], "its column 'split' says test of some images and 'holdout' of others"),
        ([("train", "test"), *[("train", "train")] * 3], "has several columns (split, subset) that may be the split; name it in"),
    ],
)
def test_doubtful_splits_are_refused(rows: list[tuple[str, ...]], message: str, pack: Callable[..., Pack]) -> None:
    with pytest.raises(InputError) as caught:
        pack("a.csv", table_of([dict(zip(("split", "subset"), row, strict=False)) for row in rows]))
    assert str(caught.value).startswith(f"set/a.csv: {message}")


@pytest.mark.parametrize("column", ["group", "Patient ID", "patient_id", "SubjectID", "site"])
def test_groups_of_usual_names_are_taken(column: str, pack: Callable[..., Pack]) -> None:
    packed = pack("a.csv", table_of([{column: group} for group in ("x", "x\u00a0", "nan", "y")]))
    assert packed.groups == ["x", "x", None, "y"]


def test_groups_of_one_image_each_are_none(pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str]) -> None:
    assert pack("a.csv", table_of([{"patient": each} for each in "abcd"])).groups == [None] * 4
    assert capsys.readouterr().out == ""


MISSING = ["", " ", "nan", "NaN", "NA", "None", "null", "<NA>", "NaT", "n/a"]


@pytest.mark.parametrize("text", MISSING)
def test_a_label_that_is_missing_in_text_is_refused(text: str, pack: Callable[..., Pack]) -> None:
    with pytest.raises(InputError, match=r"set/a\.csv: row 6 has no label.*; add one, or remove the row"):
        pack("a.csv", csv_of([*ROWS, LAST | {"label": text}]))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("labels", [[1.0, float("nan")], [1.0, None], ["a", None], ["a", "NaN"]])
def test_a_label_that_is_missing_is_refused_in_every_format(kind: str, labels: list[Any], pack: Callable[..., Pack]) -> None:
    rows = [{"path": row["path"], "label": label} for row, label in zip(ROWS, labels, strict=False)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    table = file.getvalue() if kind == "parquet" else "\n".join(map(json.dumps, rows)).encode()
    with pytest.raises(InputError, match=r"row 2 has no label"):
        pack(f"a.{kind}", table)


ASKED = {"number": "1", "proposed": "dog", "probability": "0.4", "why": "typical"}
PLAIN = {"path": None, "label": None, "group": None, "split": None, "separator": None}


def test_a_table_of_labels_next_may_be_half_filled(pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str]) -> None:
    """By its columns alone: of any other table a row without a label is refused, see above."""
    rows = [{"path": row["path"], "label": row["label"], **ASKED, "note": "n"} for row in ROWS]
    rows[3]["label"] = " "
    rows[0]["number"] = rows[0]["proposed"] = ""  # of the columns themselves nothing is needed
    packed = pack("a.csv", csv_of(rows), columns=PLAIN)
    assert packed.ids == ["p/1.png", "p/2.png", "q/3.png"]
    assert packed.extra(np.arange(3)) == [{"note": "n"}] * 3
    assert packed.dataset["ignored"] == ["q/4.png"]
    assert "a.csv: 1 of 4 row(s) have no label yet and are left out" in capsys.readouterr().out


@pytest.mark.parametrize("left_out", list(ASKED))
def test_a_table_that_lacks_one_of_these_columns_is_any_other(left_out: str, pack: Callable[..., Pack]) -> None:
    rows = [{"path": row["path"], "label": row["label"], **ASKED} for row in ROWS]
    rows[3]["label"] = ""
    with pytest.raises(InputError, match="row 5 has no label"):
        pack("a.csv", csv_of([{name: cell for name, cell in row.items() if name != left_out} for row in rows]), columns=PLAIN)


def test_a_table_of_labels_next_without_a_label_is_refused(pack: Callable[..., Pack]) -> None:
    rows = [{"path": row["path"], "label": "", **ASKED} for row in ROWS]
    with pytest.raises(InputError, match=r"set/a\.csv: no row has a label yet; fill in its column 'label'"):
        pack("a.csv", csv_of(rows), columns=PLAIN)


GUESS = {
    "class": "cat",
    "most_probable": "cat",
    "probability": "0.4",
    "class_2": "dog",
    "probability_2": "0.3",
    "set": "cat; dog",
}


def test_what_was_predicted_is_no_label(pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"path": row["path"], "actual": row["label"], **GUESS} for row in ROWS]
    packed = pack("a.csv", csv_of(rows), columns=PLAIN)
    assert [packed.classes[label] for label in packed.labels] == [row["label"] for row in ROWS]
    assert capsys.readouterr().err == ""  # the conformal set is no split
    without = csv_of([{"path": row["path"], **GUESS} for row in ROWS])
    way = "to train on what was predicted, rename its column 'class' to 'label'"
    with pytest.raises(InputError, match=rf"set/a\.csv: holds predictions, and no true classes \(column 'actual'\); {way}$"):
        pack("a.csv", without, columns=PLAIN)
    with pytest.raises(InputError, match=rf"download\.columns\.label: 'class' of set/a\.csv was predicted; {way}$"):
        pack("a.csv", without, columns=PLAIN | {"label": "class"})
    with pytest.raises(InputError, match=r"'class' of set/a\.csv was predicted; name 'actual', which holds the true classes$"):
        pack("a.csv", csv_of(rows), columns=PLAIN | {"label": "class"})
    rows = [{"path": row["path"], **GUESS, "class": row["label"]} for row in ROWS]
    assert pack("a.csv", csv_of(rows).replace(b"class,", b"label,", 1), columns=PLAIN).classes == ["cat", "dog"]


def test_several_labels_of_which_one_is_missing(pack: Callable[..., Pack]) -> None:
    columns = COLUMNS | {"group": None, "split": None, "separator": ";"}
    rows = [row | {"label": label} for row, label in zip(ROWS, ("cat;dog", "nan", "", "dog"), strict=True)]
    by_id = dict(zip(*((packed := pack("a.csv", csv_of(rows), columns=columns)).ids, packed.labels.tolist()), strict=True))
    assert by_id == {"p/1.png": [1, 1], "p/2.png": [0, 0], "q/3.png": [0, 0], "q/4.png": [0, 1]}
    rows[2]["label"] = "cat;nan"
    with pytest.raises(InputError, match=r"row 4 has no label \('cat;nan' means that it is missing\)"):
        pack("a.csv", csv_of(rows), columns=columns)


def test_labels_that_look_the_same_are_one_and_twins_are_named(
    pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("caf\u00e9", "cafe\u0301\u200b", "caf\u00e9\u00a0", "Caf\u00e9")
    rows = [row | {"label": label} for row, label in zip(ROWS, labels, strict=True)]
    assert pack("a.csv", csv_of(rows)).classes == ["Caf\u00e9", "caf\u00e9"]
    assert "the classes 'Caf\u00e9' and 'caf\u00e9' differ in capitals alone" in capsys.readouterr().err


@pytest.mark.parametrize("archive", [None, ""])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_two_spellings_of_one_file(
    archive: str | None, on_disk: Any, pack: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = unicodedata.normalize(on_disk, "q/\u00e9.png")
    monkeypatch.setitem(ROWS[3], "path", path)
    for spelling in ("q//\u00e9.png", "./q/./e\u0301.png"):
        once = csv_of([*ROWS[:3], ROWS[3] | {"path": spelling}])
        assert len(pack("a.csv", once, archive=archive)) == 4
    twice = csv_of([*ROWS[:3], ROWS[3] | {"path": "q/\u00e9.png"}, ROWS[3] | {"path": "q/e\u0301.png"}])
    with pytest.raises(InputError, match="row 6 repeats the path"):
        pack("a.csv", twice, archive=archive)


def test_capitals_are_two_files_where_the_file_system_says_so(root: Path, pack: Callable[..., Pack], image: Any) -> None:
    table = csv_of([*ROWS, LAST | {"path": "Q/4.png"}])
    (root / "set" / "Q").mkdir(parents=True)
    (root / "set" / "Q" / "4.png").write_bytes(image(9))
    assert len(pack("a.csv", table)) == 5
    # As on a file system that ignores capitals.
    (root / "set" / "Q" / "4.png").unlink()
    (root / "set" / "Q" / "4.png").hardlink_to(root / "set" / "q" / "4.png")
    images = FilesBelow(root / "set")
    columns = Columns.model_validate(COLUMNS | {"group": False, "split": False})
    with pytest.raises(InputError, match=r"row 6 repeats the path 'Q/4\.png' of another row"):
        list_manifest(read_table("a.csv", table, "set"), columns, images.read, "set", {}, images.identity)


def test_junk_in_a_table_is_never_packed(pack: Callable[..., Pack], capsys: pytest.CaptureFixture[str]) -> None:
    junk = ["p/@eaDir/1.png", "__MACOSX/p/1.png", "p/._1.png", "p/Thumbs.db", ".DS_Store"]
    packed = pack("a.csv", csv_of([*ROWS, *(LAST | {"path": path, "label": "nan"} for path in junk)]))
    assert len(packed) == 4
    assert "warning: set/a.csv: 5 row(s) name files that are no part of a set, such as .DS_Store" in capsys.readouterr().err


def test_cells_are_kept_as_they_were_read() -> None:
    day = datetime.datetime(2024, 5, 1, 12, 30)
    cells = {
        "negative": pa.array([-1, None]),
        "large": pa.array([2**63 - 1, -(2**53) - 1]),
        "whole": pa.array([3.0, None]),
        "part": pa.array([3.0, -0.5]),
        "huge": pa.array([1e300, 1.0]),
        "short": pa.array([0.1, -33.7], pa.float32()),
        "yes": pa.array([True, None]),
        "text": pa.array(["007", "1.0"]),
        "day": pa.array([day.date(), None]),
        "time": pa.array([day, None]),
        "clock": pa.array([day.time(), None]),
        "exact": pa.array([decimal.Decimal("-1.10"), None]),
        "category": pa.array(["b", "a"]).dictionary_encode(),
    }
    file = io.BytesIO()
    pq.write_table(pa.table(cells), file)
    table = read_table("a.parquet", file.getvalue(), "set")
    assert dict(zip(table.columns, zip(*(row for _, row in table.rows), strict=True), strict=True)) == {
        "negative": ("-1", ""),
        "large": ("9223372036854775807", "-9007199254740993"),
        "whole": ("3", ""),
        "part": ("3.0", "-0.5"),
        "huge": ("1e+300", "1.0"),
        "short": ("0.1", "-33.7"),
        "yes": ("true", ""),
        "text": ("007", "1.0"),
        "day": ("2024-05-01", ""),
        "time": ("2024-05-01 12:30:00", ""),
        "clock": ("12:30:00", ""),
        "exact": ("-1.10", ""),
        "category": ("b", "a"),
    }


@pytest.mark.parametrize(
    "entry", [r'{"path": "1\ud800.png"}', r'{"path": "1.png", "label": "x\uDC00"}', r'{"path": "1.png", "n\ud800": "1"}']
)
def test_half_a_character_is_refused_with_its_line(entry: str) -> None:
    data = b'{"path": "0.png", "note": "\\ud83d\\ude00"}\n' + entry.encode()  # the first has both halves of one
    with pytest.raises(
        InputError, match=r"^t.jsonl: cannot be read \(line 2 holds '\\u[0-9a-f]{4}', half a character\); correct it$"
    ):
        read_table("t.jsonl", data, "t.jsonl")
