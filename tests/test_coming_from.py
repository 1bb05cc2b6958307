"""docs/coming-from.md: what is shown works, and the test that holds each line is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_docs import command_fault, settings_fault

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
PROGRAMS = ("dvc ", "./darkroom ", "make ", "git ")
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def tables() -> Iterator[tuple[str, list[list[str]]]]:
    """Yield the title of each trainer with the cells of its rows."""
    for title, content in re.findall(r"^## (.+)\n\n\|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE):
        yield title, [[cell.strip() for cell in line.strip("|").split(" | ")] for line in content.splitlines()]


TABLES = dict(tables())


def test_every_earlier_trainer_has_a_table() -> None:
    named = " ".join(TABLES).casefold()
    wanted = (
        "lightning-hydra",
        "malpolon",
        "pytorch-template",
        "lightning cli",
        "timm",
        "ultralytics",
        "sacred",
        "elasticsearch",
    )
    assert all(name in named for name in wanted)
    assert all(len(rows) >= 3 for rows in TABLES.values())


def commands_of(cell: str) -> list[str]:
    return [code for code in re.findall(r"`([^`]+)`", cell) if code.startswith(PROGRAMS)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("title", TABLES)
def test_what_is_shown_is_accepted(title: str, tmp_path: Path) -> None:
    faults = []
    for _, here, _ in TABLES[title]:
        for command in commands_of(here):
            fault = command_fault(command) or (settings_fault(command, tmp_path) if " -S " in command else None)
            faults += [f"{command}: {fault}"] if fault else []
    assert faults == []


def test_every_line_names_a_test_that_is_there() -> None:
    named = [row[-1].strip("`") for rows in TABLES.values() for row in rows]
    assert [name for name in named if name not in TESTS] == []


def test_a_wrong_line_is_seen(tmp_path: Path) -> None:
    assert commands_of("`dvc exp run -S train.lr=0.1`, or `train.ema`") == ["dvc exp run -S train.lr=0.1"]
    assert command_fault("./darkroom evaluate --modle models")
    assert settings_fault("dvc exp run -S train.freze=true", tmp_path)
    assert "test_that_nobody_wrote" not in TESTS
