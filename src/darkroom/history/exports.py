"""The table for other programs: CSV with everything in full, and Markdown as on the terminal."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from darkroom.base.errors import one_line
from darkroom.base.files import csv_text
from darkroom.history.changes import changed_inputs, changed_params
from darkroom.history.groups import group_of
from darkroom.history.layout import Line
from darkroom.history.query import Query
from darkroom.history.rows import Row
from darkroom.versions.parameters import value_text
from darkroom.versions.text import escaped

OF_ROW = ("name", "kind", "commit", "baseline", "group", "message", "time", "minutes")


def csv_lines(rows: Sequence[Row], reference: Row, query: Query) -> str:
    """Return a CSV table: a row for each state, also in a search, with all metrics and every parameter that changes."""
    changed = {key for row in rows for key in changed_params(row, reference)}
    params = [key for key in query.params if key in changed]
    ends = [metric for metric in query.metrics if any(metric in row.intervals for row in rows)]
    bounds = [f"{metric}.{end}" for metric in ends for end in ("low", "high")]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([csv_text(one_line(cell)) for cell in (*OF_ROW, *query.metrics, *bounds, *params, "inputs", "faults")])
    for row in rows:
        numbers = [row.metrics.get(metric, "") for metric in query.metrics]
        intervals = [end for metric in ends for end in row.intervals.get(metric, ("", ""))]
        values = [one_line(value_text(row.params[key])) if key in row.params else "" for key in params]
        texts = [*values, " ".join(changed_inputs(row, reference)), "; ".join(row.faults)]
        writer.writerow([*map(csv_text, _about(row)), *numbers, *intervals, *map(csv_text, texts)])
    return stream.getvalue()


def _about(row: Row) -> Iterator[str]:
    candidate = row.candidate
    time = "" if row.seconds is None else datetime.fromtimestamp(row.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    minutes = "" if row.minutes is None else f"{row.minutes:.2f}"
    name, (group, kind) = ", ".join((row.name, *row.also)), group_of(row)
    about = (name, kind or candidate.kind, candidate.commit, candidate.baseline, group, row.subject, time, minutes)
    yield from map(one_line, about)


def markdown_lines(lines: Sequence[Line], headings: Line) -> Iterator[str]:
    """Yield the lines of a table in GitHub's Markdown; nothing in a cell is taken for a mark of it."""
    num_values = len(headings.values)
    yield _row(headings)
    yield "|---|" + "---:|" * num_values + "---|"
    yield from map(_row, lines)


def _row(line: Line) -> str:
    first = escaped(f"{line.name} {line.subject}".strip())
    indent = "&emsp;" if line.name.startswith(" ") else ""
    return "| " + " | ".join((indent + first, *map(escaped, line.values), escaped(line.changes))) + " |"
