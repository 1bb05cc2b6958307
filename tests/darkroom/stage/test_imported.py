"""Only code that was imported counts against a run; a change of what it did use is still refused."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.base import paths
from darkroom.base.errors import RunError
from darkroom.stage.inputs import read_inputs
from darkroom.stage.runner import Stage

USED = "from importlib import import_module\n\ndef late():\n    return import_module('mine.' + 'helper')\n"


@pytest.fixture
def running_with_plugins(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage that depends on src/mine and has imported src/mine/used.py, which names helper.py."""
    folder = root / "src" / "mine"
    folder.mkdir()
    for name, text in {"used.py": USED, "helper.py": "", "idle.py": "", "table.json": "{}"}.items():
        (folder / name).write_text(text)
    pipeline = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(pipeline.replace("src/split.py,", "src/split.py, src/mine,"))
    stage = Stage("split", read_inputs("split"))
    monkeypatch.syspath_prepend(str(root / "src"))
    importlib.import_module("mine.used")
    yield stage
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "name",
    ["new.py", "deep/new.py", "idle.py", ".used.py.swp", "used.py~", "deep/.#used.py", "__pycache__/used.cpython-311.pyc"],
)
def test_code_that_nothing_imported_may_come_change_and_go(running_with_plugins: Stage, root: Path, name: str) -> None:
    path = root / "src" / "mine" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("# other")
    running_with_plugins.check()
    path.unlink()
    running_with_plugins.check()


@pytest.mark.parametrize("name", ["used.py", "helper.py", "table.json", "new.json", "__init__.py", "used/__init__.py"])
def test_what_was_or_may_have_been_read_may_not(running_with_plugins: Stage, root: Path, name: str) -> None:
    """A package of the same name is imported in place of a module; a worker may have imported what a plug-in names."""
    path = root / "src" / "mine" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("# other")
    with pytest.raises(RunError, match=rf"src/mine/{name}: changed while split ran"):
        running_with_plugins.check()


def test_a_module_that_is_imported_after_the_edit_counts(running_with_plugins: Stage, root: Path) -> None:
    (root / "src" / "mine" / "idle.py").write_text("value = 1\n")
    running_with_plugins.check()
    importlib.import_module("mine.idle")
    with pytest.raises(RunError, match=r"src/mine/idle\.py: changed"):
        running_with_plugins.check()


def test_without_a_plug_in_its_tables_do_not_count(running_with_plugins: Stage, root: Path) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        del sys.modules[name]
    (root / "src" / "mine" / "table.json").write_text("[]")
    (root / "src" / "mine" / "used.py").write_text("")
    running_with_plugins.check()


def test_dvc_ignores_what_is_taken_for_left_behind() -> None:
    lines = Path(__file__).resolve().parents[3].joinpath(".dvcignore").read_text(encoding="utf-8").splitlines()
    assert set(paths.LEFT_BEHIND) <= set(lines)
