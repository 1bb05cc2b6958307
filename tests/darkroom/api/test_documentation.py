"""docs/api.md, docs/api.ipynb and docs/notebook.ipynb run as they stand."""

import ast
import base64
import io
import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from darkroom.base.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parents[3]


def page() -> str:
    return str(re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)[0])


def notebook() -> str:
    cells = json.loads((ROOT / "docs" / "api.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_example_has_fifteen_lines_and_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The notebook is the same code from the folder docs/."""
    assert len([line for line in page().splitlines() if line]) <= 15
    assert notebook().split() == page().replace('"src"', '"../src"').split()
    script = tmp_path / "train_digits.py"
    script.write_text(page(), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT / "src"), *sys.path])
    run = runpy.run_path(str(script), run_name="__main__")["run"]
    assert run.metrics["test"]["accuracy"] > 0.8
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{run.metrics['test']['accuracy']} [")
    assert (tmp_path / "runs" / "first" / "models" / "run.json").is_file()
    assert read_yaml(ROOT / "params.yaml")["train"]["model"]["name"] == "small_cnn"  # that of the repository is not touched


def outcome(source: str, names: dict[str, Any]) -> Any:
    """Run a cell, and return the value of its last line as Jupyter shows it; None: it is no expression."""
    *body, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        exec(compile(source, "cell", "exec"), names)
        return None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_the_notebook_shows_what_its_cells_give(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Three lines load, predict and embed; the photo is shown smaller."""
    monkeypatch.chdir(ROOT / "docs")
    monkeypatch.setattr(sys, "path", [*sys.path])
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    shown = 0
    for cell in cells:
        if cell["cell_type"] == "code":
            found = outcome("".join(cell["source"]), names)
            for output in cell["outputs"]:
                shown += 1
                assert "".join(output["data"]["text/plain"]) == re.sub(r" at 0x\w+", "", repr(found))
                if "image/jpeg" in output["data"]:
                    photo = Image.open(io.BytesIO(base64.b64decode(output["data"]["image/jpeg"])))
                    assert photo.size == found.size
            assert cell["outputs"] or found is None
    assert shown == 5
    assert capsys.readouterr() == ("", "")  # no calibration is missed, as there is none
    assert names["found"].chosen == ["palace"]
    code = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert all(code.count(line) == 1 for line in ("model = Model.load(", "found = model.predict(photo)", "model.embed(photo)"))
