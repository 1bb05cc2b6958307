"""The sheet and the page of doubtful labels: what is on them, and that no name becomes markup."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.labels.sheet import SHOWN, check_ending, make_page, summary, write_sheet
from darkroom.labels.suspects import Suspect, Suspects

FOUND = [
    Suspect(0, "<img onerror=x>.png", "cat", "cat", "dog & co", 0.98, 0.01),
    Suspect(1, "b.png", "dog", "dog", "dog", 0.7, 0.7, "same pixels as a.png (cat)"),
]


def show(row: int) -> NDArray[np.uint8]:
    return np.full((20, 30, 3), 100 * row, np.uint8)


def test_a_page_of_one_file(tmp_path: Path) -> None:
    write_sheet(tmp_path / "labels.html", Suspects(FOUND, 10, 1.2, []), show)
    page = (tmp_path / "labels.html").read_text(encoding="utf-8")
    assert "About 1 of 10 labels is probably wrong." in page
    assert page.count('src="data:image/') == 2
    assert "dog &amp; co" in page
    assert "same pixels as a.png (cat)" in page
    assert "<img onerror" not in page


def test_a_sheet(tmp_path: Path) -> None:
    write_sheet(tmp_path / "labels.png", Suspects(FOUND, 10, 1.2, []), show)
    with Image.open(tmp_path / "labels.png") as sheet:
        assert sheet.height > 100


def test_nothing_is_doubtful(tmp_path: Path) -> None:
    none = Suspects([], 10, 0.0, [])
    assert summary(none) == "About 0 of 10 labels are probably wrong"
    write_sheet(tmp_path / "labels.png", none, show)
    write_sheet(tmp_path / "labels.html", none, show)
    assert "<section" not in (tmp_path / "labels.html").read_text(encoding="utf-8")


def test_many_are_counted() -> None:
    many = FOUND[1:] * (SHOWN + 5)
    page = make_page(Suspects(many, 1000, 100, []), many[:SHOWN], show)
    assert "… and 5 more" in page


def test_another_ending_is_refused() -> None:
    with pytest.raises(InputError, match=r"--sheet: labels.jpg does not end with .png or .html; name such a file"):
        check_ending(Path("labels.jpg"))
