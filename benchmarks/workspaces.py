"""Folders in which benchmarks run stages, with the code of this checkout and parameters of their own; they need no Git."""

import shutil
import sys
from pathlib import Path
from typing import Any

from peers import ROOT

sys.path.insert(0, str(ROOT / "src"))

from ruamel.yaml import YAML


def make_workspace(folder: Path, content: dict[str, Any]) -> Path:
    """Make a folder in which `python src/train.py` and the other stages run, with this content of params.yaml."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data").mkdir()
    for path in ("dvc.yaml", "data/corrections.csv"):
        shutil.copy(ROOT / path, folder / path)
    write_params(folder, content)
    return folder


def write_params(folder: Path, content: dict[str, Any]) -> None:
    """Write params.yaml of a workspace."""
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
