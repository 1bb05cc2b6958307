"""./darkroom labels check: planted errors come first, the table is edited and taken back, and nothing else is changed."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.cli import labels as command
from darkroom.data.pack import Pack
from darkroom.labels import check
from darkroom.sources.corrections.table import read_corrections
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

WRONG = {"blue/03.png": "red", "blue/07.png": "red", "red/05.png": "blue"}
Write = Callable[[str], Pack]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params]) -> Write:
    """Pack 40 reddish and bluish images, three of them in the wrong folder, with a table of corrections."""
    for label in ("red", "blue"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(20):
            name = f"{label}/{number:02d}.png"
            pixels = np.random.default_rng(number + 100 * (label == "red")).integers(0, 120, (32, 32, 3), np.uint8)
            pixels[..., 0 if WRONG.get(name, label) == "red" else 2] += 120
            Image.fromarray(pixels).save(tmp_path / "photos" / name)
    (tmp_path / "none.csv").write_text("id,label\n")
    monkeypatch.setattr(paths, "RAW", tmp_path / "raw")

    def run(corrections: str) -> Pack:
        source = {"source": "folder", "folder": str(tmp_path / "photos"), "corrections": str(tmp_path / corrections)}
        params = make_params({f"download.{key}": value for key, value in source.items()}).download
        with files.replaced_dir(paths.RAW) as directory, read_source(params, directory) as listing:
            write_pack(listing, directory, params, read_corrections(params.corrections))
        return Pack.open(paths.RAW)

    return run


@pytest.fixture(autouse=True)
def features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mean colours in place of a pretrained network, which has tests of its own."""

    def colours(_: Any, pack: Pack, rows: Any) -> Any:
        return np.stack([pack[row].mean(axis=(0, 1)) / 255 for row in rows]).astype(np.float32)

    monkeypatch.setattr(check, "open_backbone", lambda *_, **__: None)
    monkeypatch.setattr(check, "pack_features", colours)


def test_planted_errors_are_found_corrected_and_gone(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("none.csv")
    before = {path: path.read_bytes() for path in (tmp_path / "photos").rglob("*.png")}
    command.main(["check", "--out", "labels.csv", "--sheet", "labels.html"])
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["image", "label", "proposed", "confidence"]
    assert {line.split()[0]: line.split()[2] for line in out[1:4]} == WRONG
    assert out[-1] == "labels check: About 3 of 40 labels are probably wrong; 3 doubtful, 0 accepted -> labels.csv"
    assert (tmp_path / "labels.html").stat().st_size > 1000

    with (tmp_path / "labels.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"]: row["proposed"] for row in rows} == WRONG
    rows[0]["label"] = rows[0]["proposed"]
    with (tmp_path / "edited.csv").open("w", encoding="utf-8-sig", newline="") as file:  # as Excel writes it
        writer = csv.DictWriter(file, rows[0], delimiter=";", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
    pack = write("edited.csv")
    assert [each["id"] for each in pack.dataset["corrected"]] == [rows[0]["id"]]

    command.main(["check", "--out", "labels.csv", "--accept", "0.5", "--sheet", "labels.png"])
    assert "2 doubtful, 2 accepted" in capsys.readouterr().out
    pack = write("labels.csv")  # has what was corrected before, too
    assert {each["id"]: each["label"] for each in pack.dataset["corrected"]} == WRONG
    command.main(["check"])
    assert capsys.readouterr().out.splitlines()[-1] == "labels check: About 0 of 40 labels are probably wrong"
    assert {path: path.read_bytes() for path in (tmp_path / "photos").rglob("*.png")} == before


def test_corrections_that_are_not_packed_are_not_replaced(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("none.csv")
    Path("labels.csv").write_text("id,given,proposed,confidence,label,note\nblue/03.png,blue,red,0.9,red,\n")
    with pytest.raises(InputError, match=r"--out: labels.csv has 1 correction\(s\) that data/raw does not have"):
        command.main(["check", "--out", "labels.csv"])
    assert "red" in Path("labels.csv").read_text()


@pytest.mark.parametrize(
    "header",
    [
        "number,path,label,proposed,probability,why",
        "path,label",
        "id,label",
        "id,given,label",
        "id,given,proposed,confidence,label,note,mine",
    ],
)
def test_a_table_of_another_kind_is_not_replaced(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str
) -> None:
    """Its labels agree with data/raw, so that no correction would be lost, but the work of a person would."""
    monkeypatch.chdir(tmp_path)
    write("none.csv")
    values = {"number": "1", "path": "blue/03.png", "id": "blue/03.png", "label": "blue", "given": "blue"}
    text = f"{header}\n{','.join(values.get(name, '') for name in header.split(','))}\n"
    Path("labels.csv").write_text(text)
    with pytest.raises(
        InputError, match=r"^--out: labels.csv exists and was not written by ./darkroom labels check; name another"
    ):
        command.main(["check", "--out", "labels.csv"])
    assert Path("labels.csv").read_text() == text


@pytest.mark.parametrize("name", command.WHAT)
def test_help_of_a_sub_command_has_examples_and_exit_statuses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main([name, "--help"])
    text = capsys.readouterr().out
    assert text.startswith(f"usage: ./darkroom labels {name} ")
    assert f"\nexamples:\n  ./darkroom labels {name}" in text
    assert "\nexit status:\n  0 " in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "WHAT: is missing; './darkroom labels --help' shows the arguments"),
        (["chek"], "WHAT: is 'chek', but should be one of 'check'"),
        (["check", "--ot", "a.csv"], "--ot: unknown flag; did you mean '--out'?"),
        (["check", "--accept", "0.9"], "--accept: writes labels to a table; name it after --out"),
        (["check", "--out", "a.csv", "--accept", "90"], "--accept: is 90.0; give 0 to 1"),
        (["check", "--sheet", "a.jpg"], "--sheet: a.jpg does not end with .png or .html"),
        (["check", "--out", "a.txt"], "--out: a.txt does not end with .csv"),
        (["check", "--out", "lost/a.csv"], "--out: the folder lost does not exist; create it first"),
        (["check", "--sheet", str(paths.ROOT / "data/raw/a.png")], "--sheet: "),
    ],
)
def test_mistakes_in_arguments(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write("none.csv")
    with pytest.raises(InputError) as error:
        command.main(arguments)
    assert str(error.value).startswith(message)
