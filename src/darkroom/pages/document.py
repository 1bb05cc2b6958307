"""The skeleton of a page: safe markup, tables, sections, images inside the file, the style of page.css.

All markup is an `Html`, which `element` makes. Whatever else is put into an element is text, and is escaped: a name that comes
from the data cannot become markup by being forgotten.
"""

import base64
import html
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.base.errors import one_line

STYLE = Path(__file__).with_name("page.css")
# Nothing is loaded and nothing runs, even if a fault let a name through: the browser refuses it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
# Of a page that a server shows: its own script runs, and asks that server alone.
SERVED_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
VOID = frozenset({"br", "img", "input", "link", "meta"})
ELEMENTS = VOID | frozenset(
    [
        *("html", "head", "title", "body", "header", "main", "nav", "section", "footer", "div", "h1", "h2", "h3"),
        *("p", "a", "ul", "ol", "li", "dl", "dt", "dd", "details", "summary", "figure", "figcaption"),
        *("table", "caption", "thead", "tbody", "tr", "th", "td"),
        *("span", "b", "em", "small", "code", "bdi", "svg", "g", "path", "line", "rect", "circle", "text"),
        *("label", "noscript"),
    ]
)
# Characters of a name that needs no width of its own in a table.
SHORT = 8
# First bytes of the kinds of images that a page may hold.
IMAGES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"RIFF": "webp"}


@dataclass(frozen=True)
class Html:
    """Markup. Only this module makes it of text, in `element`; `str` of it is refused, so that it is not pasted into text."""

    markup: str

    def __str__(self) -> str:
        raise TypeError("markup is not text; put it into an element, or take .markup")


Content = Html | str | int | None
"""What an element holds: markup, or text and numbers, which are escaped; None is nothing."""
Value = str | int | float | None
"""The value of an attribute; True writes the name alone, False and None leave it out, floats are rounded to 0.01."""


def element(name: str, /, *content: Content, **attributes: Value) -> Html:
    """Return an element; `class_` is the attribute class, `stroke_width` is stroke-width.

    Raises
    ------
    ValueError
        If the element or an attribute could run or load something: `onclick`, an address out of the page.
    """
    if name not in ELEMENTS:
        raise ValueError(f"<{name}> has no place on a page")
    opening = "".join([name, *(_attribute(key, value) for key, value in attributes.items())])
    return Html(f"<{opening}>" if name in VOID else f"<{opening}>{join(*content).markup}</{name}>")


def join(*content: Content) -> Html:
    """Return pieces one after the other; text is escaped, and what cannot be printed is written as in Python's strings."""
    return Html("".join(each.markup if isinstance(each, Html) else _escaped(each) for each in content if each is not None))


def _escaped(text: str | int) -> str:
    return html.escape(one_line(str(text)))


def _attribute(key: str, value: Value) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    if not name.replace("-", "").isalnum() or name.startswith("on"):
        raise ValueError(f"the attribute {name} has no place on a page")
    if name in ("href", "src", "srcset", "data", "action") and not text.startswith(("#", "data:image/", "data:,")):
        raise ValueError(f"{name} leads out of the page")
    if name == "style" and "url" in text.casefold():
        raise ValueError("a style loads something")
    return f' {name}="{_escaped(text)}"'


def name_of(text: str) -> Html:
    """Return a name that comes from the data: of a class, a file, a revision. Its direction changes nothing beside it."""
    return element("bdi", text, class_="name long" if len(text) > SHORT else "name")


def command(line: str) -> Html:
    """Return a line to type."""
    return element("code", line, class_="command")


def paragraph(*content: Content) -> Html:
    """Return a paragraph."""
    return element("p", *content)


def missing(what: str, *lines: str) -> Html:
    """Return a sentence on what is not shown, and the lines to type that make it."""
    ways = [each for line in lines for each in (element("br"), command(line))]
    return element("p", what, *ways, class_="missing")


def listed(items: Iterable[Content], *, class_: str | None = None) -> Html:
    """Return a list."""
    return element("ul", *(element("li", each) for each in items), class_=class_)


def described(pairs: Iterable[tuple[Content, Content]]) -> Html:
    """Return terms with what they are: a table of two columns without lines."""
    return element("dl", *(element("div", element("dt", term), element("dd", what)) for term, what in pairs))


def table(
    header: Sequence[Content], rows: Iterable[Sequence[Content]], *, texts: Collection[int] = (0,), class_: str | None = None
) -> Html:
    """Return a table that scrolls sideways where it is wider than the page.

    Parameters
    ----------
    header
        Cells of the first row.
    rows
        The others; the first cell of each is its heading.
    texts
        Numbers of the columns that hold text. All others are numbers, and stand at the right.
    class_
        Of the table.
    """

    def line(cells: Sequence[Content], kind: str) -> Html:
        parts = [
            element(
                "th" if kind == "col" or place == 0 else "td",
                cell,
                scope=kind if kind == "col" or place == 0 else None,
                class_=None if place in texts else "number",
            )
            for place, cell in enumerate(cells)
        ]
        return element("tr", *parts)

    body = element("tbody", *(line(row, "row") for row in rows))
    # Focusable, so that it can be scrolled by keys.
    return element(
        "div", element("table", element("thead", line(header, "col")), body, class_=class_), class_="scroll", tabindex="0"
    )


def folded(summary: Content, *content: Content) -> Html:
    """Return what is shown once its summary is clicked; printed it is open."""
    return element("details", element("summary", summary), *content)


def figure(content: Html, *caption: Content, class_: str | None = None) -> Html:
    """Return a chart or an image with its caption."""
    return element("figure", content, element("figcaption", *caption) if caption else None, class_=class_)


def columns(*content: Content) -> Html:
    """Return pieces beside each other, below each other on a phone."""
    return element("div", *content, class_="columns")


def image(content: bytes, alt: str, *, class_: str | None = None, width: int | None = None) -> Html:
    """Return an image that lies in the page.

    Raises
    ------
    ValueError
        If it is no PNG, JPEG or WebP.
    """
    kind = next((kind for start, kind in IMAGES.items() if content.startswith(start)), None)
    if kind is None:
        raise ValueError("the image is no PNG, JPEG or WebP")
    data = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return element("img", src=data, alt=alt, class_=class_, width=width)


def section(title: str, *content: Content, ident: str) -> Html:
    """Return a section with its heading, which `#ident` leads to."""
    return element("section", element("h2", title), *content, id=ident)


def contents(sections: Iterable[tuple[str, str]]) -> Html:
    """Return links to sections, given as ident and title."""
    return element("nav", *(element("a", title, href=f"#{ident}") for ident, title in sections))


def page(title: str, *content: Content, by: str | None = None, script: str | None = None, style: Path | None = None) -> str:
    """Return the whole file; its first heading is the title.

    Parameters
    ----------
    title, content
        What is shown.
    by
        The command that writes it, such as `./darkroom predict`: by this mark it knows the file, and replaces no other.
    script
        Name of a script that the server of this page has at its top; None: nothing runs.
    style
        A further style sheet.
    """
    if script is not None and not re.fullmatch(r"[a-z]+\.js", script):
        raise ValueError(f"{script} is no name of a script of the server's own")
    sheets = "\n".join(path.read_text(encoding="utf-8") for path in (STYLE, style) if path)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="generator", content=by) if by else None,
        element("meta", http_equiv="Content-Security-Policy", content=POLICY if script is None else SERVED_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("link", rel="icon", href="data:,"),  # or a browser asks a server for one
        element("title", title),
        Html(f"<style>{sheets}</style>"),
        Html(f'<script src="/{script}" defer></script>') if script else None,
    )
    body = element("body", element("main", element("h1", title), *content))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en').markup}\n"
