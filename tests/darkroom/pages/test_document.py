"""Markup is made by `element` alone; text is escaped, and nothing that runs or loads can be written."""

import ast

import pytest
from browser import Markup

from darkroom.base import paths
from darkroom.pages import document
from darkroom.pages.document import Html, element, join, name_of, page, table

HOSTILE = "<img src=x onerror=alert(1)>\"'&</style></script>"


@pytest.mark.parametrize("name", [HOSTILE, "=1+1", "a\u202eb", "\udc80", "\x00", "new\nline"])
def test_a_name_is_text_wherever_it_stands(name: str) -> None:
    parsed = Markup(
        page(
            name, element("p", name, title=name), name_of(name), table([name], [[name, name]]), document.section(name, ident="x")
        )
    )
    assert parsed.open == []
    assert parsed.tags <= document.ELEMENTS | {"style"}
    assert not any(name.startswith("on") for name in parsed.attributes)
    assert sum(document.one_line(name) in text for text in parsed.texts) >= 6
    page(name).encode("utf-8")


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("script", {}),
        ("iframe", {}),
        ("a", {"href": "https://example.com"}),
        ("a", {"href": "javascript:alert(1)"}),
        ("img", {"src": "file:///etc/passwd"}),
        ("p", {"onclick": "alert(1)"}),
        ("p", {"x onclick": "alert(1)"}),
        ("p", {"style": "background: URL(x)"}),
    ],
)
def test_what_runs_or_loads_is_refused(name: str, attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"place on a page|leads out|loads something"):
        element(name, "text", **attributes)


def test_markup_is_not_pasted_into_text() -> None:
    with pytest.raises(TypeError):
        f"{element('b', 'x')}"
    assert join("<", element("b", "x"), 1, None).markup == "&lt;<b>x</b>1"


def test_attributes() -> None:
    assert element("line", x1=1.0, y1=0.12345, stroke_width=2, class_="a", hidden=True, id=None).markup == (
        '<line x1="1" y1="0.12" stroke-width="2" class="a" hidden></line>'
    )


def test_no_other_module_declares_text_to_be_markup() -> None:
    for path in (paths.ROOT / "src").rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        made = [each for each in calls if isinstance(each, ast.Name) and each.id == Html.__name__]
        assert path.name == "document.py" or not made, path


def test_an_image_is_one() -> None:
    assert document.image(b"\x89PNG....", "x").markup.startswith('<img src="data:image/png;base64,iVBORy4uLi4="')
    with pytest.raises(ValueError, match="no PNG"):
        document.image(b"<svg onload=alert(1)>", "x")


def test_the_page_forbids_requests() -> None:
    parsed = Markup(page("title"))
    policies = [attributes["content"] for _, attributes in parsed.elements if attributes.get("http-equiv")]
    assert policies == [document.POLICY]
    assert "url(" not in document.STYLE.read_text(encoding="utf-8")
    assert "@import" not in document.STYLE.read_text(encoding="utf-8")
