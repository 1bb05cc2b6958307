"""Tables for other programs, of names and values that mean them harm."""

import csv
import io
import re

from hand_made import NOW, PARAMS, Work, params_with, results

from darkroom.history.exports import csv_lines, escaped, markdown_lines
from darkroom.history.layout import Line
from darkroom.history.table import Columns

HOSTILE = "<img_src=x|onerror=alert(1)>`@team"


def rows_of(work: Work, **request: object) -> list[dict[str, str]]:
    overview = work.show(**request)
    return list(csv.DictReader(io.StringIO(csv_lines(overview.runs, overview.reference, overview.query))))


def test_csv_has_everything_in_full(work: Work) -> None:
    bounds = {"test": {"accuracy": {"value": 0.91, "low": 0.89, "high": 0.93}}}
    head = work.commit(results(0.90, 0.91, evaluated=work.cache_folder("intervals.json", bounds)), "First results", age=3600)
    work.experiments({f"rates-{number:04d}": results(0.9 + number / 8, params=params_with(lr=0.012345678)) for number in (0, 1)})
    work.experiment("data", results(0.5, 0.5, raw="8" * 32))
    rows = {row["name"]: row for row in rows_of(work)}
    assert list(rows) == ["HEAD, workspace", "rates-0001", "rates-0000", "data"]
    first, trial = rows["HEAD, workspace"], rows["rates-0001"]
    assert (first["commit"], first["kind"], first["time"]) == (head, "commit", "2027-01-15T07:00:00Z")
    assert (first["test.accuracy"], first["test.accuracy.low"], first["test.accuracy.high"]) == ("0.91", "0.89", "0.93")
    assert (trial["kind"], trial["group"], trial["baseline"], trial["train.lr"]) == ("trial", "rates", head, "0.012345678")
    assert (trial["test.accuracy"], trial["val.accuracy"]) == ("", "1.025")
    assert rows["data"]["inputs"] == "data"
    assert "train.batch_size" not in first, "which nothing changes"


def test_no_cell_is_a_formula(work: Work) -> None:
    work.commit(results(0.90, 0.91), "=cmd|'/c calc'!A1")
    work.experiment("=1+1", results(0.9, 0.9, params=PARAMS.replace("  monitor:", '  "=x": "@y\\n\\e[31m"\n  monitor:')))
    text = csv_lines((overview := work.show()).runs, overview.reference, overview.query)
    assert "\x1b" not in text
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+"))]
    assert {"'=1+1", "'@y\\n\\x1b[31m", "'=cmd|'/c calc'!A1"} <= set(cells)


def test_markdown_has_no_marks_of_names(work: Work) -> None:
    work.commit(results(0.90, 0.91), "# <b>*First* results</b> [x](http://y)")
    work.experiment(HOSTILE, results(0.9, 0.9, params=PARAMS.replace("torch.optim.AdamW", f'"{HOSTILE}"')))
    overview = work.show()
    columns = Columns(overview.metrics, overview.reference, frozenset(), NOW)
    headings = Line("name", "", ("a", "b", "c", "d"), "changes")
    table = list(markdown_lines(list(columns.lines(overview.rows)), headings))
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 7 for line in table)
    text = "\n".join(table[2:])
    assert not re.search(r"[<>`@*\[]", text)
    assert text.count("&#60;img_src=x&#124;onerror=alert(1)&#62;&#96;&#64;team") == 2


def test_words_stay_as_they_are_in_markdown() -> None:
    assert escaped("batch_size=64  lr=0.003  val.accuracy") == "batch_size=64  lr=0.003  val.accuracy"
    assert escaped("_a_ ~b~ #1") == "&#95;a&#95; &#126;b&#126; &#35;1"
