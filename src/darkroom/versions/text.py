"""Texts for columns of a terminal, and for Markdown."""

import unicodedata
from collections.abc import Collection, Iterator, Sequence

from darkroom.base.errors import one_line

PLAIN = frozenset(" -/,;%()+='…±")


def width_of(text: str) -> int:
    """Return the columns that a text takes: two for a wide character, none for an accent of its own."""
    return sum(0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """Return a text filled up with spaces; at the right end if it is a number."""
    space = " " * (width - width_of(text))
    return space + text if right else text + space


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """Yield rows of printable cells in columns as wide as their widest cell; those in `right` end at the same place."""
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [padded(cell, widths[place], right=place in right) for place, cell in enumerate(row)]
        yield "  " + "  ".join(cells).rstrip()


def escaped(text: str) -> str:
    """Return text as Markdown that shows it as it is, also in a table: what could mean anything becomes a reference.

    Markdown does not take references for structure: no tag, link or emphasis comes of them. GitHub makes links of addresses
    without any mark, and pictures of words between colons, so that the dot of `www.` is one as well, and a colon inside of words.
    """
    line = one_line(text)
    return "".join(each if _is_plain(line, place) else f"&#{ord(each)};" for place, each in enumerate(line))


def _is_plain(line: str, place: int) -> bool:
    before, each, after = line[place - 1 : place], line[place], line[place + 1 : place + 2]
    if each == ".":
        return line[:place][-3:].casefold() != "www"
    if each == ":":
        return after in ("", " ") or (before + after).isdecimal()
    if each == "_":  # inside a word it is no emphasis
        return before.isalnum() and after.isalnum()
    return each.isalnum() or each in PLAIN
