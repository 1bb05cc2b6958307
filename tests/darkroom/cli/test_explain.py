"""./darkroom explain: photos, the mistakes and the largest losses that evaluate recorded, as a sheet or as a page."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import BROWSER, Markup, look_at
from PIL import Image
from publishing import Best
from ruamel.yaml import YAML

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.cli import explain
from darkroom.explanation.explained import Explained, Near
from darkroom.explanation.results import make_page, write_explained
from darkroom.metrics.decision import Decision
from darkroom.metrics.predictions_file import About, read_predictions
from darkroom.metrics.predictions_writer import ImagesOf, PredictionsWriter
from darkroom.models.model_json import data_hashes, make_card
from darkroom.models.saving import save_model
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"train.model.kwargs": {"width": 4, "stages": 1}, "hardware.accelerator": "cpu"}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """A model that was not trained, and what evaluate wrote of it."""
    content = read_yaml(paths.PARAMS)
    content["train"]["model"]["kwargs"] = SMALL["train.model.kwargs"]
    content["hardware"]["accelerator"] = "cpu"
    folder, params = tmp_path_factory.mktemp("published"), check_params(content)
    torch.manual_seed(0)
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    card = make_card(
        params, plan.preprocessing, digits.split.classes, data_hashes(digits.raw, digits.split), Best(), about=plan.about
    )
    network = plan.classifier.network.eval()
    save_model(folder / "models", network.state_dict(), card)
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    with PredictionsWriter(folder / "predictions.parquet", About(digits.pack.classes, "multiclass", Decision())) as writer:
        for name in ("val", "test"):
            rows = digits.split.rows[name]
            with torch.no_grad():
                images = torch.from_numpy(digits.pack.batch(rows)).permute(0, 3, 1, 2)
                probabilities = network(images).softmax(1).double().numpy()
            ids = [digits.pack.ids[row] for row in rows]
            writer.add(name, ImagesOf(ids, [b""] * len(ids), digits.pack.labels[rows], {}), probabilities)
    return folder


@pytest.fixture
def workspace(published: Path, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    named = {"RAW": digits.raw, "SPLIT": digits.raw.parent / "split", "MODELS": tmp_path / "models"}
    named |= {"PARAMS": tmp_path / "params.yaml", "EVALUATED": tmp_path / "predictions.parquet"}
    for name, path in named.items():
        monkeypatch.setattr(paths, name, path)
    monkeypatch.setattr("darkroom.features.extract.features_dir", lambda: tmp_path / "features")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def photo(digits: Any, path: Path, row: int) -> None:
    Image.fromarray(digits.pack[row][..., 0]).save(path)


def table_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if not line.startswith(("explain:", "features:", "..."))]
    return [re.split(" {2,}", line) for line in lines]


def test_a_photo_of_the_training_set_is_its_own_nearest(workspace: Path, digits: Any, capsys: pytest.CaptureFixture[str]) -> None:
    row = int(digits.split.rows["train"][5])
    photo(digits, workspace / "a b.png", row)
    explain.main(["a b.png", "--nearest", "3"])
    said = capsys.readouterr().out
    header, line = table_of(said)
    assert header == ["image", "predicted", "most probable", "next", "nearest training images"]
    assert line[0] == str(workspace / "a b.png") or line[0] == "a b.png"
    assert line[-1].startswith(f"{digits.pack.classes[digits.pack.labels[row]]} 1.000, ")
    assert said.endswith("explain: 1 image -> explanation.png\n")
    with Image.open("explanation.png") as sheet:
        assert sheet.width > 5 * 136
    explain.main(["a b.png", "--nearest", "3"])
    assert "features: computes" not in capsys.readouterr().out


def test_without_images_the_most_confident_mistakes_are_shown(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain.main(["--count", "5", "--nearest", "0"])
    header, *rows = table_of(capsys.readouterr().out)
    assert header == ["image", "true", "predicted", "most probable", "next"]
    test = read_predictions(workspace / "predictions.parquet")["test"]
    wrong = np.flatnonzero(~test.right)
    order = wrong[np.argsort(-test.confidence[wrong], kind="stable")][:5]
    assert [row[0] for row in rows] == [test.ids[place] for place in order]
    assert all(row[1] != row[2] for row in rows)


def test_the_largest_losses_of_a_split_as_a_page(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain.main(["--top-losses", "4", "--split", "val", "--out", "why.html"])
    _, *rows = table_of(capsys.readouterr().out)
    val = read_predictions(workspace / "predictions.parquet")["val"]
    assert [row[0] for row in rows] == [val.ids[place] for place in np.argsort(-val.losses, kind="stable")[:4]]
    images = [each for tag, each in Markup((workspace / "why.html").read_text(encoding="utf-8")).elements if tag == "img"]
    assert len(images) == 4 * (2 + 5)
    assert all((each["src"] or "").startswith("data:image/png;base64,") for each in images)


def test_what_speaks_for_another_class(workspace: Path, digits: Any) -> None:
    photo(digits, workspace / "a.png", int(digits.split.rows["test"][0]))
    sheets = []
    for name in digits.pack.classes[:3]:
        explain.main(["a.png", "--class", name, "--nearest", "0", "--out", f"{name}.png"])
        sheets.append((workspace / f"{name}.png").read_bytes())
    assert len(set(sheets)) == 3


def test_without_the_data_photos_have_heat_alone(
    workspace: Path, digits: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photo(digits, workspace / "a.png", int(digits.split.rows["test"][0]))
    monkeypatch.setattr(paths, "RAW", workspace / "raw")
    explain.main(["a.png"])
    said = capsys.readouterr().out
    assert "explain: no nearest training images, since those of the model are not here (" in said
    assert table_of(said)[0][-1] == "next"
    assert Path("explanation.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--class", "77"],
            r"--class: the model has no class 77; did you mean '7'\?|--class: the model has no class 77; it has 0, ",
        ),
        (["--out", "why.pdf"], r"--out: why\.pdf does not end with \.png or \.html; name such a file"),
        (["--top-losses", "0"], "--top-losses: is 0, but should be 1 to 200; give another number"),
        (["--nearest", "13"], "--nearest: is 13, but should be 0 to 12; give another number"),
        (["a.png", "--split", "val"], "--split: chooses among the images of data/split, but images are named as well; leave out"),
        (
            ["--model", "models"],
            "--model: the mistakes and losses that evaluate recorded are those of models; name images as well",
        ),
        (["nothing.png"], "nothing.png: does not exist; name an image or a folder"),
        (["--split", "train"], "--split: is 'train', but should be one of"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], message: str, workspace: Path) -> None:
    with pytest.raises(InputError, match=message):
        explain.main(arguments)
    assert not (workspace / "explanation.png").exists()


def test_missing_damaged_and_foreign_predictions_are_one_line(workspace: Path, digits: Any) -> None:
    path = workspace / "predictions.parquet"
    rows = digits.split.rows["val"]
    shifted = [digits.pack.ids[row] for row in rows[::-1]]
    with PredictionsWriter(path, About(digits.pack.classes, "multiclass", Decision())) as writer:
        writer.add("test", ImagesOf(shifted, [b""] * len(rows), digits.pack.labels[rows], {}), np.full((len(rows), 10), 0.1))
    with pytest.raises(InputError, match=r"predictions\.parquet: is of other images than data/split; run 'dvc repro evaluate'"):
        explain.main([])
    path.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"predictions\.parquet: is damaged \(.*\); run 'dvc checkout', or"):
        explain.main([])
    path.unlink()
    with pytest.raises(InputError, match=r"predictions\.parquet: does not exist; run 'dvc repro evaluate' or 'dvc checkout', or"):
        explain.main([])


def test_a_folder_of_too_many_images_is_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch, digits: Any) -> None:
    monkeypatch.setattr(explain, "MOST", 16)
    (workspace / "folder").mkdir()
    for row in range(17):
        photo(digits, workspace / "folder" / f"{row}.png", row)
    with pytest.raises(InputError, match="explain: 17 images are more than the 16 that fit a sheet; name fewer"):
        explain.main(["folder"])


def hostile() -> Explained:
    image = np.zeros((8, 8, 3), np.uint8)
    near = [Near("=1+1.png", HOSTILE, 0.5, image)]
    return Explained("=1+1.png\x1b[2J", image, image, HOSTILE, HOSTILE, [(HOSTILE, 0.9), ("\u202eb", 0.1)], HOSTILE, near)


def test_names_run_nothing(tmp_path: Path) -> None:
    page = make_page([hostile()], HOSTILE)
    found = Markup(page)
    assert [tag for tag, _ in found.elements].count("img") == 3
    assert not [name for name in found.attributes if name.startswith("on")]
    assert HOSTILE not in page
    assert "\x1b" not in page
    write_explained(tmp_path / "a.png", [hostile()], "models")
    assert "\x1b" not in "".join(explain.lines([hostile()]))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
def test_a_browser_requests_nothing_and_runs_nothing(tmp_path: Path) -> None:
    seen = look_at(make_page([hostile()], HOSTILE), tmp_path)
    assert (seen.errors, seen.requests) == ([], [])
    assert "script" not in seen.markup.tags
