"""The lines of the table on a terminal of any width: what is too long goes on below; only commits' messages are cut off."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from darkroom.versions.text import padded, width_of

GAP = "  "
ELLIPSIS = "…"
# Of the width of the table that commits' messages may fill, and that names may; a longer one goes on below.
NAME_SHARE, MAX_NAME_SHARE = 0.35, 0.37
# With less room for the changes, they stand below their row, by so much indented.
MIN_CHANGES = 24
INDENT = "    "
MIN_NAME = 8
# On a narrower terminal lines run over.
MIN_WIDTH = 40


class Line(NamedTuple):
    """A row of the table as text, each part on one printable line."""

    name: str
    subject: str
    """Of a commit; it may be cut off."""
    values: tuple[str, ...]
    changes: str
    """Settings with two spaces between them."""


@dataclass(frozen=True)
class Layout:
    """Where the columns stand.

    Attributes
    ----------
    name
        Width of the names.
    values
        Widths of the columns after it; those that have no room are left out.
    changes
        Width of the changes beside them; None: they stand below.
    width
        Of all together.
    """

    name: int
    values: tuple[int, ...]
    changes: int | None
    width: int

    @classmethod
    def fitted(cls, lines: Sequence[Line], width: int) -> "Layout":
        """Return the layout for lines of which the first has the headings."""
        longest = max(width_of(line.name) for line in lines)
        wanted = max(width_of(f"{line.name} {line.subject}".rstrip()) for line in lines)
        values = [max(map(width_of, column)) for column in zip(*(line.values for line in lines), strict=True)]

        def left() -> int:
            return width - sum(len(GAP) + each for each in values)

        while left() < min(longest, width // 3) and len(values) > 1:
            values.pop()
        # What names may take if the changes are to stand beside them.
        beside = left() - len(GAP) - MIN_CHANGES
        if beside >= (needed := min(longest, int(MAX_NAME_SHARE * width))):
            # Messages leave room for the changes first.
            room = min(max(width_of(line.changes) for line in lines), width // 3)
            name = max(needed, min(wanted, int(NAME_SHARE * width), left() - len(GAP) - max(room, MIN_CHANGES)))
            return cls(name, tuple(values), left() - name - len(GAP), width)
        return cls(max(1, min(wanted, max(longest, int(NAME_SHARE * width)), left())), tuple(values), None, width)

    def texts(self, line: Line) -> Iterator[str]:
        """Yield the lines of a row."""
        names = list(wrapped([line.name], self.name))
        left = self.name - width_of(names[0]) - 1
        if line.subject and len(names) == 1 and left >= MIN_NAME:
            names[0] += " " + shortened(line.subject, left)
        pieces = line.changes.split(GAP) if line.changes else []
        beside = list(wrapped(pieces, self.changes)) if self.changes else []
        values = GAP.join(padded(value, each) for value, each in zip(line.values, self.values, strict=False))
        for name, middle, changes in zip_longest(names, [values], beside, fillvalue=""):
            middle = padded(middle, sum(self.values) + len(GAP) * (len(self.values) - 1))
            yield GAP.join((padded(name, self.name), middle, changes)).rstrip()
        if pieces and not self.changes:
            yield from (INDENT + part for part in wrapped(pieces, max(MIN_NAME, self.width - len(INDENT))))


def render(lines: Sequence[Line], headings: Line, width: int) -> list[str]:
    """Return the lines of the table, at most `width` wide."""
    layout = Layout.fitted([headings, *lines], max(width, MIN_WIDTH))
    return [text for line in (headings, *lines) for text in layout.texts(line)]


def paragraph(text: str, width: int) -> list[str]:
    """Return a text of printable characters in lines of at most this width."""
    return textwrap.wrap(text, max(width, 20), break_on_hyphens=False) or [""]


def shortened(text: str, width: int) -> str:
    """Return a text, cut off with an ellipsis if it is wider."""
    if width_of(text) <= width:
        return text
    return next(iter(wrapped([text], width - 1))).rstrip() + ELLIPSIS


def wrapped(pieces: Sequence[str], width: int) -> Iterator[str]:
    """Yield lines of at most this width, with as many pieces on each as fit; a longer piece is divided."""
    line = ""
    for piece in pieces:
        if line and width_of(line) + len(GAP) + width_of(piece) > width:
            yield line
            line = ""
        line += GAP + piece if line else piece
        while width_of(line) > width and (end := _fitting(line, width)) < len(line):
            yield line[:end].rstrip()
            line = line[end:]
    if line or not pieces:
        yield line


def _fitting(text: str, width: int) -> int:
    """Return how many characters have this width together, one at least, and up to a space if there is one near the end."""
    taken = 0
    for place, character in enumerate(text):
        taken += width_of(character)
        if taken > width and place:
            return text.rfind(" ", place // 2, place) + 1 or place
    return len(text)
