"""The table: which columns it has, and what stands in them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from darkroom.base.errors import one_line
from darkroom.history.changes import changes_text, short_names
from darkroom.history.groups import group_of, runs_text
from darkroom.history.layout import GAP, Line
from darkroom.history.rows import Row

AGES = ((60.0, "min"), (3600.0, "h"), (86400.0, "d"))
MAX_DAYS = 99
BLANK = "-"


@dataclass(frozen=True)
class Columns:
    """What the table shows of its rows.

    Attributes
    ----------
    metrics
        Names of the metrics, a column each.
    reference
        The row that changes are relative to.
    opened
        Groups whose members are shown.
    now
        The time, in seconds since 1970.
    """

    metrics: tuple[str, ...]
    reference: Row
    opened: frozenset[str]
    now: float

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of all columns but the name."""
        return (
            *(metric.replace(".", " ") for metric in self.metrics),
            "minutes",
            "age",
            f"changed against {self.reference.name}",
        )

    def lines(self, rows: Sequence[Row]) -> Iterator[Line]:
        """Yield the lines of the table, with the members of opened groups below them."""
        members = [member for row in rows for member in row.members or (row,)]
        names = short_names({key for row in (*members, self.reference) for key in row.params})
        for row in rows:
            yield self._line(row, names)
            if row.group in self.opened:
                for member in row.members:
                    yield self._line(member, names, indent=GAP)

    def _line(self, row: Row, names: Mapping[str, str], indent: str = "") -> Line:
        values = (*(self._metric(row, metric) for metric in self.metrics), minutes_text(row.minutes), age_text(row, self.now))
        subject = one_line(row.subject) if row.candidate.kind == "commit" else ""
        return Line(indent + one_line(label_of(row)), subject, values, changes_text(row, self.reference, names))

    def _metric(self, row: Row, metric: str) -> str:
        value = row.metrics.get(metric)
        if value is None:
            return BLANK
        if metric in row.spread:
            return f"{value:.4f} sd {row.spread[metric]:.4f}"
        low, high = row.intervals.get(metric, (value, value))
        return f"{value:.4f}" + (f" ±{(high - low) / 2:.4f}" if high > low else "")


def label_of(row: Row) -> str:
    """Return how a row is called in the table."""
    if row.group:
        is_search = group_of(row.members[0])[1] == "trial"
        return f"{row.name}, best of {runs_text(row)}" if is_search else f"{row.group}, mean of {runs_text(row)}"
    return ", ".join((row.name, *row.also))


def minutes_text(minutes: float | None) -> str:
    """Return a time in minutes; short ones with a decimal."""
    return BLANK if minutes is None else f"{minutes:.1f}" if minutes < 10 else f"{minutes:.0f}"


def age_text(row: Row, now: float) -> str:
    """Return how long ago a row was recorded: `3 h`."""
    if row.seconds is None:
        return BLANK
    age = max(0.0, now - row.seconds)
    unit, word = next(((unit, word) for unit, word in reversed(AGES) if age >= unit), (0.0, "now"))
    if not unit:
        return word
    return f"{int(age // unit)} {word}" if age // unit <= MAX_DAYS else f"{age / 86400 / 365.25:.1f} y"
