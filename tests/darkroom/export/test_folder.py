"""The folder of an export: what is finished is kept, an earlier export is lost to no part of a new one, other files stay."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError, Interrupted, RunError
from darkroom.export import export
from darkroom.export.export import Written, export_model
from darkroom.export.folder import FILES, other_file
from darkroom.export.parity import Parity

Export = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Write formats of a few bytes to `exported`; the one that is named in `fails` leaves half a file, and raises."""
    monkeypatch.setattr(export, "make_exported", lambda *_: None)
    monkeypatch.setattr(export, "about", lambda _: {"classes": ["a", "b"]})

    def call(*names: str, fails: str = "", error: BaseException | None = None, content: str = "new") -> list[str]:
        def make(_: Any, name: str, folder: Path) -> Written:
            for each in FILES[name]:
                (folder / each).write_text(content)
                if name == fails:
                    assert error is not None
                    raise error
            return Written(name, folder / FILES[name][0], 3, Parity(1, 0.0, 0, 0))

        monkeypatch.setattr(export._Maker, "make", make)
        told: list[str] = []
        nothing: Any = None
        export_model(nothing, nothing, nothing, names, tmp_path / "exported", tell=lambda each: told.append(each.name))
        return told

    return call


def content(folder: Path) -> dict[str, str]:
    """Return the models in a folder, and check that parity.json describes them, and nothing else is there."""
    found = {path.name: path.read_text() for path in folder.iterdir()}
    about = json.loads(found.pop("parity.json"))
    assert found.pop("about.json")
    assert {name for each in about for name in FILES[each]} == set(found)
    assert other_file(folder) is None
    found.pop("classify.py", None)
    return found


ERRORS = [InputError("x: is wrong"), RunError("x: failed"), MemoryError(), Interrupted(2)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_formats_that_are_finished_are_kept_where_a_later_one_fails(run: Export, tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised:
        run("onnx", "torch", "openvino", fails="openvino", error=error)
    assert content(tmp_path / "exported") == {"model.onnx": "new", "model.pt2": "new"}
    if isinstance(error, Interrupted):
        assert "what was finished is kept; run the same command again for the rest" in str(raised.value)
    assert run("onnx", "torch", "openvino") == ["onnx", "torch", "openvino"]
    assert content(tmp_path / "exported").keys() == {"model.onnx", "model.pt2", "model.xml", "model.bin"}


def test_where_the_first_fails_nothing_is_left(run: Export, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^x: is wrong$"):
        run("onnx", "torch", fails="onnx", error=InputError("x: is wrong"))
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced_once_all_its_formats_are_new(
    run: Export, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("onnx", "torch", content="old")
    with pytest.raises(RunError):
        run("onnx", "torch", fails="torch", error=RunError("x: failed"))
    assert set(content(tmp_path / "exported").values()) == {"old"}
    assert "stays as it was, since not all of its formats were written again" in capsys.readouterr().out
    with pytest.raises(RunError):
        run("onnx", "torch", "openvino", fails="openvino", error=RunError("x: failed"))
    assert content(tmp_path / "exported") == {"model.onnx": "new", "model.pt2": "new"}
    run("torch")
    assert content(tmp_path / "exported") == {"model.pt2": "new"}


def test_other_files_are_named(run: Export, tmp_path: Path) -> None:
    run("onnx", "openvino")
    folder = tmp_path / "exported"
    assert other_file(folder) is None
    (folder / "__pycache__").mkdir()  # of classify.py, which was imported
    assert other_file(folder) is None
    for name in ("notes.txt", "model.pt2", "model-int8.xml", ".hidden"):
        (folder / name).touch()
        assert other_file(folder) == name
        (folder / name).unlink()
    (folder / "deep").mkdir()
    assert other_file(folder) == "deep"
    (folder / "deep").rmdir()
    (folder / "classify.py").write_text("# mine")
    assert other_file(folder) == "classify.py"


def test_an_export_of_an_earlier_version_without_hashes_is_known(run: Export, tmp_path: Path) -> None:
    run("onnx")
    folder = tmp_path / "exported"
    about = json.loads((folder / "parity.json").read_text())
    del about["onnx"]["sha256"]
    (folder / "parity.json").write_text(json.dumps(about))
    assert other_file(folder) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"onnx": 1}', '{"mine": {"other_decisions": 0}}', '{"onnx": {"accuracy": 1}}'])
def test_parity_json_of_somebody_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "parity.json").write_text(text)
    assert other_file(tmp_path) == "parity.json"
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    assert other_file(tmp_path) is None
