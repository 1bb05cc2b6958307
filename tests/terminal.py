"""A terminal's screen, for tests: what a person sees of bytes that a program writes, after its control codes."""

import os
import pty
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CODE = re.compile(r"\x1b\[(?P<private>\?)?(?P<numbers>[\d;]*)(?P<kind>[A-Za-z])")


class Screen:
    """Lines of a terminal of this width, which is high enough for all of them.

    It knows the codes that rich writes; others are an error.
    """

    def __init__(self, width: int = 80):
        self.width = width
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0
        self.shows_cursor = True

    def write(self, text: str) -> "Screen":
        """Show a text."""
        place = 0
        while place < len(text):
            if match := CODE.match(text, place):
                self._obey(match)
                place = match.end()
                continue
            character = text[place]
            place += 1
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self._to(self.row + 1)
            elif character == "\x07":
                pass
            else:
                assert character.isprintable(), ascii(character)
                self._put(character)
        return self

    def lines(self) -> list[str]:
        """Return what stands there, without spaces at the end of lines."""
        return ["".join(row).rstrip() for row in self.rows]

    def _put(self, character: str) -> None:
        if self.column == self.width:  # only now does a terminal begin the next line
            self.column = 0
            self._to(self.row + 1)
        line = self.rows[self.row]
        line += " " * (self.column + 1 - len(line))
        line[self.column] = character
        self.column += 1

    def _to(self, row: int) -> None:
        self.row = max(0, row)
        self.rows += [[] for _ in range(self.row + 1 - len(self.rows))]

    def _obey(self, match: re.Match[str]) -> None:
        number = int(match["numbers"] or 0) if ";" not in match["numbers"] else 0
        if match["private"]:
            if number == 25:
                self.shows_cursor = match["kind"] == "h"
        elif match["kind"] == "A":
            self._to(self.row - max(1, number))
        elif match["kind"] == "K":
            line = self.rows[self.row]
            del line[0 if number == 2 else self.column :]
        else:
            assert match["kind"] == "m", match[0]  # colours


class Terminal:
    """A pseudo-terminal that is standard output, and what was written to it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.output = os.fdopen(slave, "w")
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, keys: bytes) -> None:
        """Press keys, which the terminal writes itself: Ctrl-C as ^C. No process has it as its own and gets a signal."""
        os.write(self.master, keys)

    def close(self) -> str:
        """Return all that was written."""
        self.output.close()
        self._reader.join()
        os.close(self.master)
        return b"".join(self._parts).decode()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.master, 65536)
            except OSError:  # how Linux says that the other end is closed
                return
            if not part:
                return
            self._parts.append(part)


@contextmanager
def terminal(width: int) -> Iterator[Terminal]:
    """Let standard output be a terminal; close it to see what was written."""
    opened = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setenv("TERM", "xterm")
        patch.setattr(sys, "stdout", opened.output)
        try:
            yield opened
        finally:
            opened.output.flush()
