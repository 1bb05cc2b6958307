"""Comparisons on a terminal, in Markdown and as a page, with names that want to be more than names."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
from browser import BROWSER, Markup, look_at
from compared import PARAMS, Repository, make_repository, sure

from darkroom.base import paths
from darkroom.comparison import markdown, text
from darkroom.comparison.comparison import Comparer, Comparison
from darkroom.comparison.gate import read_gate
from darkroom.comparison.page import page
from darkroom.comparison.text import shortened, width_of, wrapped
from darkroom.comparison.verdict import Verdict

CLASSES = [
    "<img src=x onerror=alert(1)>",
    "=1+1|`**a**`",
    "[x](javascript:alert(1)) @somebody #1 www.example.org",
    "\x1b[31m\u202ered\n# heading",
    "猫" * 40,
]
IDS = ["=1+1.png", "<script>alert(1)</script>.png", "a|b\\|c.png", "x" * 300, "</details>", "https://example.org/a_b_c.png"]
LABELS = np.arange(60) % 5
BRANCH = "it's-<b>&@me"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = make_repository(tmp_path_factory.mktemp("outputs"))
    ids = [f"{IDS[place]}" if place < len(IDS) else f"{place}" for place in range(60)]
    options = {"classes": CLASSES, "ids": ids}
    made.evaluate(sure(LABELS, 5), LABELS, metrics={"accuracy": 1, "<i>": 1}, **options)
    made.commit("main")
    predicted = LABELS.copy()
    predicted[:12] = (predicted[:12] + 1) % 5
    params = PARAMS | {"train": {"lr": "<u>`|*\n", "epochs": 3}}
    made.write({"src/<s>|`.py": "x"})
    made.evaluate(sure(predicted, 5), LABELS, params=params, metrics={"accuracy": 0.8}, **options)
    made.commit(BRANCH)
    return made


@pytest.fixture(scope="module")
def compared(repository: Repository) -> tuple[list[Comparison], list[Verdict]]:
    comparer = Comparer(repository.root, repository.root / "logs")
    found = comparer.compare("main", BRANCH, "test")
    gates = ["test.accuracy >= main - 0.01", "test.accuracy >= 0.5"]
    return [found], [comparer.judge(read_gate(gate), BRANCH) for gate in gates]


Compared = tuple[list[Comparison], list[Verdict]]


@pytest.mark.parametrize("limit", [20, 3, None])
def test_a_terminal_shows_lines_that_fit(compared: Compared, limit: int | None) -> None:
    lines = list(text.report(*compared, limit))
    assert all(line.isprintable() for line in lines)
    assert max(map(width_of, lines)) <= 100
    shown = "\n".join(lines)
    for expected in ("classes: 5 of 5 differ", "broken: 12", "parameters: 1", "code: 1 file differs"):
        assert expected in shown
    assert ("\\x1b[31m\\u202ered" in shown) == (limit != 3)
    assert ("… and 9 more (--all, --html FILE)" in shown) == (limit == 3)
    assert lines[-6].startswith("gate: test.accuracy >= main - 0.01")
    assert lines[-5].startswith(f"  FAIL {BRANCH}: worse beyond noise, by 0.1")
    assert lines[-2].startswith(f"  pass {BRANCH}: 0.7")
    assert sum(line.startswith("  recall_macro") for line in lines) == (limit is None)


def rendered(markup: str) -> str:
    """Return the text that a reader of Markdown sees, whose tags and references are taken away."""
    return html.unescape(re.sub(r"</?(?:code|details|summary|sub|br)>", "", markup))


def test_markdown_shows_names_as_they_are(compared: Compared) -> None:
    made = markdown.markdown(*compared)
    assert set(re.findall(r"<[^>]*>", made)) == {
        *("<code>", "</code>", "<details>", "</details>", "<summary>", "</summary>", "<sub>", "</sub>", "<br>")
    }
    # No link, call of a person, emphasis or address is left outside of what this module writes.
    names = re.sub(r"&#\d+;", "", made).replace("**12 broken**", "").replace("**0 fixed, 12 broken**", "")
    assert not re.search(r"[@`*\[\]\\]|www\.|://", names)
    for table in re.findall(r"(?:^\|.*\n)+", made, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table
    assert made.count("<details>") == made.count("</details>") == 3
    seen = rendered(made)
    for expected in (
        CLASSES[0],
        CLASSES[1],
        IDS[0],
        IDS[1],
        IDS[2],
        "</details>",
        BRANCH,
        "src/<s>|`.py",
        "<u>`|*\\n",
        "❌ fail",
    ):
        assert expected in seen
    assert len(made) < 65_536


def test_the_page_shows_names_as_they_are(compared: Compared, tmp_path: Path) -> None:
    parsed = Markup(page(*compared, tmp_path / "raw"))
    text = "".join(parsed.texts)
    assert not {"script", "img", "i", "u", "s", "iframe"} & parsed.tags
    assert not [name for name in parsed.attributes if name.startswith("on")]
    for expected in (CLASSES[0], CLASSES[2], IDS[1], "</details>", BRANCH, "\\x1b[31m", "worse beyond noise"):
        assert expected in text
    assert "12 without a thumbnail, since data/raw here does not have their pixels." in text


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_finds_no_fault_and_requests_nothing(compared: Compared, tmp_path: Path) -> None:
    written = page(*compared, tmp_path / "raw")
    seen = look_at(written, tmp_path)
    assert (seen.errors, seen.requests) == ([], [])
    assert len(seen.markup.elements) == pytest.approx(len(Markup(written).elements), abs=3)


def test_thumbnails_are_those_of_the_pixels(digits: object, tmp_path: Path) -> None:
    raw = digits.raw  # type: ignore[attr-defined]
    pack = digits.pack  # type: ignore[attr-defined]
    made = make_repository(tmp_path)
    labels = np.zeros(50, np.int64)
    known = [pack.pixel_hashes[row] if row != 3 else b"elsewhere" for row in range(50)]
    made.evaluate(sure(labels, 2), labels, hashes=known)
    made.commit("main")
    made.evaluate(sure(np.where(np.arange(50) < 40, 1, 0), 2), labels, hashes=known)
    found = Comparer(made.root, made.root / "logs").compare("main", "workspace", "test")
    written = page([found], [], raw)
    assert written.count("<img ") == 36 - 1
    assert "1 without a thumbnail, since data/raw here does not have their pixels." in written
    assert "4 of 4 more by name" in written
    assert len(written) < 200_000


def test_a_report_of_gates_alone(repository: Repository) -> None:
    verdict = Comparer(repository.root, paths.logs_dir()).judge(read_gate("test.accuracy >= 0.5"), "main")
    lines = list(text.report([], [verdict], 20))
    assert lines[0].startswith("Another seed alone")
    assert lines[-2] == "  pass main: 0.9398 at worst, within 0.5"
    assert "All gates passed" in markdown.markdown([], [verdict])
    assert "Gates" in page([], [verdict], repository.root / "none")


def test_lines_are_wrapped_between_words_and_long_words_are_cut() -> None:
    assert list(wrapped("a b")) == ["a b"]
    assert list(wrapped("x" * 150 + " end", indent=2)) == ["  " + "x" * 98, "    " + "x" * 52 + " end"]
    long = list(wrapped(" ".join(["word"] * 60)))
    assert all(len(line) <= 100 for line in long)
    assert long[1].startswith("  word")
    assert list(wrapped("猫" * 60)) == ["猫" * 50, "  " + "猫" * 10]


def test_of_long_names_the_end_is_shown() -> None:
    assert shortened("folder/with/many/names.png", 12) == "…y/names.png"
    assert shortened("e\u0301a", 2) == "e\u0301a", "an accent of its own takes no column"
    assert shortened("猫猫猫", 4) == "…猫"
