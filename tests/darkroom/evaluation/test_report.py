"""Sheets of test images: how many of how many, file names, none where there is nothing to show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base.params import EvaluateParams
from darkroom.evaluation import report
from darkroom.evaluation.report import write_evaluation
from darkroom.metrics.outcomes import Outcomes
from darkroom.reporting import sheets

CLASSES = ["<img src=x onerror=alert(1)>", "猫"]
LABELS = np.array([0, 1, 0, 1, 0])


def write(
    folder: Path, rows: list[float], monkeypatch: pytest.MonkeyPatch, num_images: int = 9
) -> dict[str, tuple[str, list[Any]]]:
    """Write an evaluation of five test images, given their probabilities of class 1; return titles and captions."""
    drawn: list[tuple[str, list[Any]]] = []

    def contact_sheet(images: Any, captions: Any, wrong: Any, *, title: str) -> Image.Image:
        drawn.append((title, captions))
        return sheets.contact_sheet(images, captions, wrong, title=title)

    monkeypatch.setattr(report, "contact_sheet", contact_sheet)
    outcomes = Outcomes.of(np.array([[1 - row, row] for row in rows]), LABELS)
    ids = ["=1+1.png", "a/b.png", "c.png", "d.png", "e.png"]
    black = np.zeros((8, 8, 1), np.uint8)
    folder.mkdir()
    params = EvaluateParams.model_construct(num_images=num_images)
    write_evaluation(folder, {"val": outcomes, "test": outcomes}, CLASSES, ids, lambda _: black, params)
    return dict(zip(sorted(path.stem for path in (folder / "images").iterdir()), drawn, strict=True))


def test_sheets_say_how_many_there_are_and_name_their_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = write(tmp_path / "metrics", [0.9, 0.2, 0.3, 0.4, 0.8], monkeypatch, num_images=2)
    title, captions = found["mistakes"]
    assert title == "2 of 4 mistakes among 5 test images, the most confident first"
    assert captions[0] == ("=1+1.png", f"true: {CLASSES[0]}", "predicted: 猫 0.90")
    assert found["samples"][0] == "2 of 5 test images, spread over the classes"
    lines = (tmp_path / "metrics" / "mistakes.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5
    assert lines[1].startswith("'=1+1.png,\u2039img src=x onerror=alert(1)\u203a,猫,0.9000,")


def test_without_mistakes_there_is_no_sheet_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(write(tmp_path / "metrics", [0.1, 0.9, 0.1, 0.9, 0.1], monkeypatch)) == ["samples"]
