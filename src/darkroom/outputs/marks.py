"""By what it is known that a command wrote a file: the columns of a table, a mark in a page or a picture, the ends of Markdown.

A table that a person filled in is no other command's: each knows only what it writes itself.
"""

import csv
import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path

# First bytes that are read to find a mark.
START = 4096
# Of the first line of a table.
LONGEST_LINE = 10_000_000
# What stands between names of columns here; of further columns any name may follow.
BETWEEN = "|"
PREDICTIONS = (
    r"path(\|actual)?(\|classes)?(\|class(\|most_probable)?\|probability)?(\|top|(\|class_\d+\|probability_\d+)*)"
    r"(\|why)?(\|foreign)?(\|set)?(\|nearest(\|nearest_class\|similarity)?|(\|nearest_\d+\|nearest_class_\d+\|similarity_\d+)*)"
    r"(\|embedding)?(\|p_.*)?(\|given(_.*)?)?"
)
SAYS_SOMETHING = r"(?=.*\|(probability|nearest|nearest_1|embedding)(\||$))"
UNREADABLE = r"path\|reason"
ASKED = ("number", "path", "label", "proposed", "probability", "why")
COMPARE = "./darkroom compare"
# Its headlines, and the two sentences at its end.
MARKDOWN = r"(### .*\n)?<sub>[^\n]*<br>[^\n]*</sub>\n"
TABLES = {
    "./darkroom predict": SAYS_SOMETHING + PREDICTIONS,
    "./darkroom drift": r"path\|distance\|p\|foreign\|same_as(\|confidence)?(\|predicted)?",
    "./darkroom evaluate": r"model(\|data\|left_out)?\|images\|metrics\|backend",
    "./darkroom labels check": r"id\|given\|proposed\|confidence\|label\|note",
    # With columns that were added by hand: its rows are kept.
    "./darkroom labels next": "".join(rf"(?=(.*\|)?{name}(\||$))" for name in ASKED) + ".*",
    "./darkroom labels curve": r"images_per_class\|images\|accuracy\|low\|high\|kind",
    "./darkroom find": r"backbone\|way\|accuracy\|low\|high\|images\|val_accuracy\|seconds\|images_per_second\|level\|line",
    "./darkroom show": r"name\|kind\|commit\|baseline\|group\|message\|time\|minutes(\|.*)?\|inputs\|faults",
    COMPARE: r"kind\|" + r"\|".join(f"{name}_before\\|{name}_after" for name in ("id", "class", "split", "row")),
}
"""The columns of the tables of each command, and the keys of its JSON, as a regular expression."""
FOLDERS = {
    "./darkroom find speed": {
        "speed.csv": r"form\|batch_size\|p50_ms\|p95_ms\|images_per_second\|.*",
        "dvc.yaml": r"# Written by \./darkroom find speed\..*",
    },
    "./darkroom serve": {
        "manifest.csv": r"path\|label\|predicted\|probability\|weights_sha256",
        "corrections.csv": r"id\|given\|label",
    },
}
"""The same of tables that a command writes into a folder, by their names."""


def wrote(command: str, path: Path, columns: str | None = None) -> bool:
    """Return whether a command wrote a file.

    Parameters
    ----------
    command
        As it is called: `./darkroom predict`.
    path
        A regular file.
    columns
        Of a table, in place of those in `TABLES`.
    """
    with path.open("rb") as file:
        start = file.read(START)
    if start.startswith(b"\x89PNG"):
        return picture_mark(command) in start
    if start.startswith(b"<!DOCTYPE html>"):
        return page_mark(command).encode() in start
    if command == COMPARE and start.startswith((b"### ", b"<sub>")):
        return re.fullmatch(MARKDOWN, path.read_text(encoding="utf-8", errors="replace"), re.DOTALL) is not None
    expected = TABLES.get(command) if columns is None else columns
    return expected is not None and any(re.fullmatch(expected, BETWEEN.join(names), re.DOTALL) for names in _columns(path, start))


def page_mark(command: str) -> str:
    """Return what is in the head of a page."""
    return f'<meta name="generator" content="{command}">'


def picture_mark(command: str) -> bytes:
    """Return what is in a PNG: the piece of text `Software`."""
    text = b"Software\x00" + command.encode("latin-1")
    return struct.pack(">I", len(text)) + b"tEXt" + text


def _columns(path: Path, start: bytes) -> list[Sequence[str]]:
    """Return the columns of a table, or the keys of JSON, in each way in which the file can be read; none if it is neither."""
    if start.startswith(b"PAR1"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return [pq.read_schema(path).names]
        except (pa.ArrowException, OSError):
            return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline(LONGEST_LINE)
            if not start.lstrip().startswith(b"{"):
                # With commas, or as a spreadsheet saves it again.
                return [next(csv.reader([line.rstrip("\r\n")], delimiter=each), []) for each in (",", ";", "\t")]
            content = json.loads(line if line.strip() != "{" else line + file.read(LONGEST_LINE))
    except (ValueError, RecursionError, csv.Error):
        return []
    return [list(content)] if isinstance(content, dict) else []
