"""CSV tables with names from the data, for people, spreadsheets and DVC's page."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from darkroom.base import files
from darkroom.base.errors import one_line


def plain_text(name: str) -> str:
    """Return a class name on one line that is no formula for a spreadsheet and no HTML for a web page.

    DVC copies the text of tables unchanged into a script of its page, which `</script>` would end: so angle brackets become angle
    quotation marks.
    """
    return files.csv_text(one_line(name).translate({ord("<"): "\u2039", ord(">"): "\u203a"}))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table atomically; names that come from the data have to be passed through `plain_text` first."""
    with files.replaced_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
