"""docs/api.md and docs/api.ipynb run as they stand."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

from darkroom.base.params_file import read_yaml

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
