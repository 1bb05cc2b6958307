"""The report: every kind of data, nothing that runs or loads, what is missing is said; opened in a browser where one is installed."""

from pathlib import Path

import pytest
from browser import CHROMIUM, Elements, open_page
from evaluated import FORMULA, HOSTILE, Files, records, revision

from darkroom.pages import document
from darkroom.pages.report import SECTIONS, report

LONG = "Ärger mit Umlauten und einem sehr langen Namen, der nirgends hineinpasst"
CLASSES = ["a", "b", HOSTILE, "</style><script>alert(1)</script>", "='=1+1", "\u202egpj", LONG]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    sites = [HOSTILE, "north", "south", "south"] * 50
    return records(CLASSES, tmp_path_factory.mktemp("records"), columns={"site": sites})


@pytest.fixture(scope="module")
def page(files: Files) -> str:
    return report([revision(files)])


def faults(text: str) -> list[str]:
    """Return what in a page could run, or load anything."""
    found = []
    for tag, attributes in Elements(text).found:
        if tag not in document.ELEMENTS | {"style"}:
            found.append(tag)
        for name, value in attributes.items():
            leaves = name in ("src", "href", "srcset", "action", "data") and not (value or "").startswith(("#", "data:"))
            if name.startswith("on") or leaves or (name == "style" and "url" in (value or "")):
                found.append(f"{tag} {name}={value}")
    return found + [word for word in ("url(", "@import") if word in text.partition("</style>")[0]]


def test_nothing_in_the_page_runs_or_loads(page: str) -> None:
    assert faults(page) == []
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 8
    assert "&lt;script&gt;alert(1)" in page
    assert FORMULA in page
    assert "\u202e" not in page


@pytest.mark.parametrize("fault", ["<script>1</script>", "<p onclick=x>", "<img src=//x.org/a.png>", "<a href='https://x.org'>"])
def test_what_runs_or_loads_is_seen(page: str, fault: str) -> None:
    assert faults(page.replace("</main>", f"{fault}</main>")) != []


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_finds_no_fault_and_requests_nothing(page: str, tmp_path: Path) -> None:
    opened = open_page(page, tmp_path)
    assert opened.console == []
    assert opened.requests == []
    assert len(opened.elements) == pytest.approx(len(Elements(page).found), abs=3)
    assert {tag for tag, _ in opened.elements} <= document.ELEMENTS | {"style"}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_reports_errors_and_requests(tmp_path: Path) -> None:
    opened = open_page("<script>console.error('x')</script><img src=x.png><img src=http://other.test/y.png>", tmp_path)
    assert len(opened.console) >= 1
    assert sorted(set(opened.requests) - {"page.test/favicon.ico"}) == ["other.test/y.png", "page.test/x.png"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_even_a_name_that_became_markup_would_not_run(page: str, tmp_path: Path) -> None:
    broken = page.replace("</main>", "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script></main>")
    opened = open_page(broken, tmp_path)
    assert opened.requests == []
    assert opened.console != []  # the policy says what it refused


def test_every_section_is_drawn_in_order(page: str) -> None:
    places = [page.find(f'id="{section.ident}"') for section in SECTIONS]
    assert places == sorted(places)
    assert min(places) > page.find('class="headline"') > 0
    assert page.count("missing") == page.count(".missing")  # a rule of the style alone
    assert "opens at" not in page
    assert page.count('class="pair"') == 24
