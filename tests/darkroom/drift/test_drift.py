"""./darkroom drift on scans of digits and a model: ordinary ones, foreign ones, known ones, too few."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from labels_fixtures import MeanColours
from PIL import Image
from publishing import enter_workspace, publish_untrained

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.cli import drift
from darkroom.drift import check, reference
from darkroom.models.preprocessing import Preprocessing

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """A model that was not trained."""
    folder = tmp_path_factory.mktemp("published")
    publish_untrained(folder, digits)
    return folder


@pytest.fixture(autouse=True)
def workspace(published: Path, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with the digits, and a folder `new` of 120 of its test images."""
    enter_workspace(published, digits, tmp_path, monkeypatch)
    monkeypatch.setattr(reference, "MOST", 300)
    seen = Preprocessing(image_size=8, channels=1, mean=(0.5,), std=(0.5,))
    hardware = check_params(read_yaml(tmp_path / "params.yaml")).hardware
    none: Any = torch.nn.Identity
    backbone = MeanColours("colours", "0", none(), seen, hardware, torch.device("cpu"), None, ([],))
    monkeypatch.setattr(check, "open_backbone", lambda *_, **__: backbone)
    for row in digits.split.rows["test"][:120].tolist():
        write(tmp_path / "new" / f"{row:04}.png", digits.pack[row])
    return tmp_path


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image.squeeze()).save(path)


def add_noise(folder: Path, count: int) -> None:
    numbers = np.random.default_rng(0)
    for number in range(count):
        write(folder / f"noise{number:02}.png", numbers.integers(0, 256, (8, 8), np.uint8))


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    drift.main(list(arguments))
    return capsys.readouterr().out.splitlines()


def test_ordinary_photos_do_not_drift(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run("new", "--gate", capsys=capsys)
    assert lines[-1].startswith("drift: none was found, at 1 % false alarms (p ")
    assert lines[-1].endswith(": 120 photos beside 300 images of data/raw")
    names = ("features  ", "foreign photos", "photo properties", "confidence  ", "class mix")
    assert sum(line.startswith(names) for line in lines) == 5
    assert any(line.startswith("foreign photos") and "photo(s) of something else (" in line for line in lines)


def test_foreign_photos_are_found_and_stand_first(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_noise(workspace / "new", 15)
    with pytest.raises(SystemExit) as ended:
        drift.main(["new", "--gate", "--out", "photos.csv", "--sheet", "drift.html"])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "drift: yes, at 1 % false alarms" in out
    with (workspace / "photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 135
    first = [Path(row["path"]).stem for row in rows[:15]]
    assert sum(name.startswith("noise") for name in first) >= 13
    assert rows[0]["foreign"] == "yes"
    assert float(rows[0]["distance"]) > float(rows[-1]["distance"])
    assert rows[0]["predicted"] in "0123456789"
    page = (workspace / "drift.html").read_text()
    assert page.count("<img") == 96
    assert "noise" in page
    assert "corrected" in page
    run("new", "--out", "photos.parquet", capsys=capsys)  # without the gate there is no failure
    assert pq.read_table(workspace / "photos.parquet").column_names == list(rows[0])


def test_without_a_model_its_tests_are_left_out(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(workspace / "models")
    lines = run("new", "--out", "photos.csv", capsys=capsys)
    assert "drift: confidence and classes are not compared, since models/ holds no model; 'dvc repro' trains one" in lines
    assert "predicted" not in (workspace / "photos.csv").read_text().splitlines()[0]


def test_known_photos_and_twins_are_not_compared(
    photos: Any, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos of 32 pixels and more have perceptual hashes."""
    monkeypatch.setattr(paths, "RAW", photos.raw)
    monkeypatch.setattr(paths, "SPLIT", photos.raw.parent / "split")
    seen = Preprocessing(image_size=32, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    backbone = check.open_backbone()
    monkeypatch.setattr(check, "open_backbone", lambda *_, **__: MeanColours(**(vars(backbone) | {"preprocessing": seen})))
    shutil.rmtree(workspace / "models")
    numbers = np.random.default_rng(5)
    folder = workspace / "bright"
    for number in range(40):
        small = numbers.integers(0, 256, (12, 12, 3), np.uint8)
        write(folder / f"{number}.png", np.asarray(Image.fromarray(small).resize((64, 64), Image.Resampling.BICUBIC)))
    shutil.copy(folder / "0.png", folder / "twin.png")
    file = photos.pack.file(int(photos.split.rows["train"][0]))
    assert file is not None
    (folder / "known.jpg").write_bytes(file)
    lines = run("bright", "--out", "photos.csv", capsys=capsys)
    assert "drift: 1 photo(s) are in data/raw already, or nearly so, and are not compared" in lines
    assert "drift: 1 near duplicate(s) are not compared beside their twins" in lines
    assert "drift: yes" in lines[-1]
    assert ": 40 photos beside" in lines[-1]
    with (workspace / "photos.csv").open(newline="") as table:
        same = {Path(row["path"]).name: row["same_as"] for row in csv.DictReader(table)}
    assert same["known.jpg"] == photos.pack.ids[photos.split.rows["train"][0]]
    assert same["0.png"] == ""


def test_images_of_test_are_not_looked_at(digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: set[int] = set()
    monkeypatch.setattr(check, "measure_distances", lambda *given, **_: looked_at.update(given[3].rows.tolist()) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drift.main(["new"])
    assert len(looked_at) == 300
    assert not looked_at & set(digits.split.rows["test"].tolist())


def test_what_cannot_be_compared_is_one_line(workspace: Path) -> None:
    for path in sorted((workspace / "new").iterdir())[19:]:
        path.unlink()
    with pytest.raises(InputError, match=r"new: holds 19 photo\(s\), too few to tell drift from chance; give at least 20$"):
        drift.main(["new"])
    add_noise(workspace / "new", 5)
    card = workspace / "models" / "model.json"
    with pytest.raises(InputError, match=r"^none: does not exist; name a folder of photos"):
        drift.main(["none"])
    with pytest.raises(InputError, match=r"--out: photos.txt does not end with .csv or .parquet"):
        drift.main(["new", "--out", "photos.txt"])
    with pytest.raises(InputError, match=r"--sheet: drift.png does not end with .html"):
        drift.main(["new", "--sheet", "drift.png"])
    recorded = read_yaml(card)["data_sha256"]["split"]
    card.write_text(card.read_text().replace(recorded, "0" * 64))
    with pytest.raises(InputError, match=r"^models"):
        drift.main(["new"])
