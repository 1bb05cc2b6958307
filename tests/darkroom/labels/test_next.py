"""Rounds of labels: what is asked, what is not asked again, what is taken from the table and from data/raw."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labels_fixtures import MeanColours, colour_of, make_photo
from PIL import Image

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.cli import labels
from darkroom.data.pack import Pack
from darkroom.labels import next_labelled
from darkroom.labels.next import TYPICAL, UNCERTAIN, next_photos
from darkroom.labels.next_table import open_table
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

pytestmark = pytest.mark.usefixtures("backbone")


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data/raw of this checkout."""
    monkeypatch.setattr(paths, "RAW", tmp_path / "raw")
    monkeypatch.chdir(tmp_path)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8-sig", newline="") as file:
        delimiter = ";" if ";" in file.readline() else ","
        file.seek(0)
        return list(csv.DictReader(file, delimiter=delimiter))


def fill_in(folder: Path, skip: int = -1) -> None:
    """Write labels as a spreadsheet would."""
    rows = rows_of(folder)
    for number, row in enumerate(rows):
        row["label"] = row["label"] or ("" if number == skip else colour_of(row["path"]))
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def run(folder: Path, *arguments: str) -> None:
    labels.main(["next", str(folder), *arguments])


def pack_of(folder: Path, make_params: Callable[..., Params], raw: Path, **changes: Any) -> Pack:
    """Pack what a table of labels names, as the stage download does."""
    download = {"source": "manifest", "folder": str(folder), "manifest": "labels.csv"} | changes
    params = make_params({f"download.{key}": value for key, value in download.items()})
    raw.mkdir()
    with read_source(params.download, raw) as listing:
        write_pack(listing, raw, params.download)
    return Pack.open(raw)


def test_rounds_add_rows_and_the_manifest_takes_them(
    folder: Path, make_params: Callable[..., Params], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first round covers the colours; later ones propose, leave alone what was filled in, and ask for nothing twice."""
    run(folder, "--count", "6")
    first = rows_of(folder)
    assert {colour_of(row["path"]) for row in first} == {"red", "green", "blue"}
    assert [(row["number"], row["label"], row["proposed"], row["probability"], row["why"]) for row in first] == [
        (str(number), "", "", "", TYPICAL) for number in range(1, 7)
    ]
    fill_in(folder, skip=2)
    capsys.readouterr()
    run(folder, "--count", "8")
    output = capsys.readouterr()
    assert "1 row(s) of earlier rounds have no label yet" in output.out
    assert "labels next: 8 of 24 photos without a label" in output.out
    assert (
        "labels.csv: each class needs 3 labels to be split, one each to train on, to validate and to test; too few" in output.out
    )
    assert output.err == ""  # of the table in the folder, nothing is said
    second = rows_of(folder)
    assert [row["label"] for row in second[:6]] == [colour_of(row["path"]) if n != 2 else "" for n, row in enumerate(first)]
    assert [row["number"] for row in second] == [str(number) for number in range(1, 15)]
    assert len({row["path"] for row in second}) == 14
    assert all(row["proposed"] == colour_of(row["path"]) and 0 < float(row["probability"]) <= 1 for row in second[6:])
    fill_in(folder, skip=2)
    pack = pack_of(folder, make_params, tmp_path / "raw")
    assert "1 of 14 row(s) have no label yet and are left out" in capsys.readouterr().out
    assert dict(zip(pack.ids, [pack.classes[label] for label in pack.labels], strict=True)) == {
        row["path"]: colour_of(row["path"]) for number, row in enumerate(second) if number != 2
    }
    assert pack.extra(pack.labels * 0) == [{}] * 13  # proposals are no columns of the predictions
    assert pack.dataset["ignored"] == [second[2]["path"]]


def test_a_table_without_any_label_is_refused_by_download(
    folder: Path, make_params: Callable[..., Params], tmp_path: Path
) -> None:
    run(folder, "--count", "2")
    with pytest.raises(InputError, match=r"labels\.csv: no row has a label yet; fill in its column 'label'"):
        pack_of(folder, make_params, tmp_path / "raw")


def test_images_of_data_raw_are_not_asked_again(
    folder: Path, params: Params, make_params: Callable[..., Params], tmp_path: Path
) -> None:
    """Neither they, under whatever name, nor copies; and their labels propose classes."""
    run(folder, "--count", "9")
    fill_in(folder)
    known = {row["path"] for row in rows_of(folder)}
    pack = pack_of(folder, make_params, tmp_path / "raw")
    (folder / "labels.csv").unlink()
    one = sorted(known)[0]
    (folder / one).rename(folder / "renamed.png")
    Image.open(folder / sorted(known)[1]).resize((60, 52)).convert("RGB").save(folder / "copy.jpg", quality=80)
    found = next_photos(folder, open_table(folder / "labels.csv", folder), 21, params, pack=pack)
    assert found.available == 21
    assert not {each.path.name for each in found.photos} & (known | {"renamed.png", "copy.jpg"})
    assert all(each.proposed == colour_of(each.path.name) for each in found.photos)
    assert "10 photo(s) are in data/raw already, or near duplicates of what was asked before" in found.notes
    assert "data/raw: 9 labelled images are taken into account" in found.notes
    run(folder, "--count", "21", "--without-raw")
    assert all(row["proposed"] == "" for row in rows_of(folder))


def test_a_label_of_the_table_replaces_that_of_data_raw(
    folder: Path, params: Params, make_params: Callable[..., Params], tmp_path: Path
) -> None:
    run(folder, "--count", "9")
    fill_in(folder)
    pack = pack_of(folder, make_params, tmp_path / "raw")
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("red", "crimson"))
    found = next_photos(folder, open_table(folder / "labels.csv", folder), 3, params, pack=pack)
    assert "data/raw: has no other labelled images than the table" in found.notes
    assert "red" not in {each.proposed for each in found.photos}


def test_data_raw_of_other_things_is_left_out(folder: Path, params: Params, digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_labelled, "is_related", lambda *_: False)
    found = next_photos(folder, open_table(folder / "labels.csv", folder), 3, params, pack=digits.pack)
    assert "data/raw: its images show other things than these photos, and are not taken into account" in found.notes
    assert {each.proposed for each in found.photos} == {""}


def test_near_duplicates_are_asked_once(folder: Path, params: Params) -> None:
    for number in range(5):
        photo = Image.open(folder / f"p{number:02}.png")
        photo.resize((65, 60)).save(folder / f"small{number}.png")
        photo.save(folder / f"jpeg{number}.jpg", quality=85)
    table = open_table(folder / "labels.csv", folder)
    found = next_photos(folder, table, 30, params)
    assert found.available == 30
    assert "10 near duplicate(s) are not asked for beside their twins" in found.notes
    stems = [each.path.stem.removeprefix("small").removeprefix("jpeg") for each in found.photos]
    assert len({int(stem.removeprefix("p")) for stem in stems}) == 30
    with pytest.raises(InputError, match="--count: is 31, but 30 photo"):
        next_photos(folder, table, 31, params)


def test_why_says_what_is_between_two_classes(folder: Path, params: Params) -> None:
    run(folder, "--count", "12")
    fill_in(folder)
    grey = Image.new("RGB", (72, 64), (120, 120, 40))  # between red and green
    grey.paste(Image.open(folder / "p00.png").crop((0, 0, 20, 20)), (30, 30))
    grey.save(folder / "p90.png")
    found = next_photos(folder, open_table(folder / "labels.csv", folder), 19, params)
    why = {each.path.name: each.why for each in found.photos}
    assert why["p90.png"] == UNCERTAIN
    assert TYPICAL in why.values()


def test_unreadable_photos_are_listed_and_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "p07.png").write_bytes(b"")
    run(folder, "--count", "29")
    assert "p07.png" not in {row["path"] for row in rows_of(folder)}
    assert "1 photo(s) cannot be read and are left out: 'p07.png' is empty" in capsys.readouterr().err


def test_a_folder_without_a_readable_photo_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        run(tmp_path / "none")
    (tmp_path / "none" / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match=r"none of its 1 photo\(s\) can be read; a\.jpg: .*; name another folder"):
        run(tmp_path / "none")
    assert sorted(path.name for path in (tmp_path / "none").iterdir()) == ["a.jpg"]


def test_when_all_is_asked_there_is_nothing_left(folder: Path) -> None:
    run(folder, "--count", "30")
    before = (folder / "labels.csv").read_bytes()
    with pytest.raises(InputError, match="every photo has a label, or was asked for"):
        run(folder, "--count", "1")
    assert (folder / "labels.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count: is 0, but should be 1 to 1000"),
        (["--count", "31"], "--count: is 31, but 30 photo.* give at most 30"),
        (["--out", "photos/labels.txt"], "does not end with .csv"),
        (["--out", "elsewhere/labels.csv"], "is neither in .*photos nor above it"),
        (["--out", "photos/other.csv"], "exists and was not written by ./darkroom labels next; name another file"),
        (["--sheet", "photos/sheet.png"], "where it would be taken for a photo"),
        (["--sheet", "sheet.jpg"], "does not end with .png"),
        (["--sheet", "nowhere/sheet.png"], "the folder nowhere does not exist"),
        (["--out", str(paths.ROOT / "data/raw/labels.csv")], "--out: "),
        (["--cuont", "3"], "--cuont: unknown flag; did you mean '--count'"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_written(
    arguments: list[str], message: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "other.csv").write_text("path,label\np00.png,red\n")
    before = sorted(path.name for path in tmp_path.rglob("*") if "kept" not in path.parts)
    with pytest.raises(InputError, match=message):
        run(folder, *arguments)
    assert sorted(path.name for path in tmp_path.rglob("*") if "kept" not in path.parts) == before


def test_folders_of_stages_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; name a folder of photos"):
        run(tmp_path / "photso")
    (tmp_path / "data" / "raw").mkdir(parents=True)
    with pytest.raises(InputError, match="is what stages write, not photos of yours"):
        run(tmp_path / "data" / "raw")
    with pytest.raises(InputError, match=r"holds .*, which stages write"):
        run(tmp_path, "--sheet", str(tmp_path.with_suffix(".png")))


def test_names_that_tables_cannot_hold(folder: Path, make_params: Callable[..., Params], tmp_path: Path) -> None:
    """Formulas, spaces, line breaks and accents come back; bytes that are not UTF-8 are left out."""
    for number, name in enumerate(("=p31.png", "-p32.png", " p33.png", "a,b\n'p34\".png", "é.png", "sub/@p35.png")):
        make_photo(folder / name, "red", 100 + number)
    shutil.copy(folder / "p00.png", str(folder).encode() + b"/\xff.png")
    run(folder, "--count", "36")
    rows = rows_of(folder)
    assert {"./=p31.png", "./-p32.png", "./ p33.png", "a,b\n'p34\".png", "é.png", "sub/@p35.png"} <= {row["path"] for row in rows}
    for number, row in enumerate(rows):
        row["label"] = "even" if number % 2 else "odd"
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert len(pack_of(folder, make_params, tmp_path / "raw")) == 36
    with pytest.raises(InputError, match="every photo has a label"):
        run(folder, "--count", "1")


def test_a_table_above_the_folder_names_photos_from_there(folder: Path, tmp_path: Path) -> None:
    run(folder, "--count", "2", "--out", str(tmp_path / "labels.csv"))
    assert all((tmp_path / row["path"]).is_file() for row in rows_of(tmp_path))
    run(folder, "--count", "28", "--out", str(tmp_path / "labels.csv"))
    assert len({row["path"] for row in rows_of(tmp_path)}) == 30


def test_a_folder_may_be_named_from_anywhere(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path / "work")
    run(Path("../photos"), "--count", "2")
    run(folder / ".." / "photos", "--count", "2")
    run(tmp_path / "link", "--count", "26")
    assert len({row["path"] for row in rows_of(folder)}) == 30


def test_columns_that_were_added_by_hand_stay(folder: Path) -> None:
    run(folder, "--count", "2")
    rows = rows_of(folder)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*rows[0], "note"])
        writer.writerows([*row.values(), "mine"] for row in rows)
    run(folder, "--count", "2")
    assert [row["note"] for row in rows_of(folder)] == ["mine", "mine", "", ""]


def test_the_sheet_has_a_cell_for_each_photo(folder: Path, tmp_path: Path, backbone: MeanColours) -> None:
    assert backbone.name == "colours"
    run(folder, "--count", "12", "--sheet", str(tmp_path / "sheet.png"))
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = sheet.convert("RGB").getcolors(sheet.width * sheet.height) or []
    assert sheet.height > 250  # two rows
    assert len(colours) > 1000
