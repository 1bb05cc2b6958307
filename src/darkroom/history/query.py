"""Which rows are shown, and in which order: `--filter 'val.accuracy > 0.9'`, `--sort minutes`, names."""

import math
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from darkroom.base.errors import InputError, nearest
from darkroom.history.changes import short_names
from darkroom.history.groups import group_of
from darkroom.history.rows import Row
from darkroom.versions.parameters import value_text

CONDITION = re.compile(r"\s*(?P<key>[^<>=!~\s]+)\s*(?P<sign><=|>=|==|!=|<|>|=|~)\s*(?P<value>.*?)\s*")
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "~": lambda text, pattern: fnmatchcase(str(text), str(pattern)),
}
# Of these the lowest is the best, and of all other metrics the highest.
LOWER_IS_BETTER = re.compile(r".*(loss|criterion|ece|brier|error|false_alarms|conformal_size|nll|epoch|parameters|multiply_adds)")
HOUR = 3600.0
OF_ROW = ("name", "minutes", "age")


class Query:
    """Looks up values of rows by the names that a person types.

    Parameters
    ----------
    rows
        All rows, not only those that are shown.
    now
        The time, in seconds since 1970.
    minimized
        Metrics of which lower values are better, beside those whose name says so.
    """

    def __init__(self, rows: Sequence[Row], now: float, minimized: frozenset[str] = frozenset()):
        self.now, self.minimized = now, minimized
        self.metrics = list(dict.fromkeys(name for row in rows for name in row.metrics))
        self.params = list(dict.fromkeys(key for row in rows for key in row.params))
        self._short = {short: key for key, short in short_names(self.params).items()}

    def resolve(self, name: str, option: str) -> str:
        """Return the full name of a metric, parameter or `name`, `minutes`, `age`.

        Raises
        ------
        InputError
            If there is none of that name, with the nearest.
        """
        if name in (*OF_ROW, *self.metrics, *self.params):
            return name
        written = name.replace("/", ".")
        for metric in (written, f"val.{written}"):
            if metric in self.metrics:
                return metric
        if name in self._short:
            return self._short[name]
        known = [*OF_ROW, *self.metrics, *self.params, *self._short]
        metrics = ", ".join((*OF_ROW, *self.metrics))
        raise InputError(f"{option}: {name or repr(name)}: no row has this; {nearest(name, known, f'there are {metrics}')}")

    def value(self, row: Row, key: str) -> Any:
        """Return a value of a row by its full name; None if it has none. The age is in hours."""
        if key == "name":
            return row.name
        if key == "minutes":
            return row.minutes
        if key == "age":
            return None if row.seconds is None else (self.now - row.seconds) / HOUR
        return row.metrics.get(key, row.params.get(key))

    def filtered(self, rows: Iterable[Row], conditions: Sequence[str]) -> list[Row]:
        """Return the rows that fulfil all conditions; one without the value fulfils none.

        Raises
        ------
        InputError
            If a condition cannot be read.
        """
        tests = [self._parsed(condition) for text in conditions for condition in re.split(r"\s+and\s+", text.strip())]
        return [row for row in rows if all(self._holds(row, test) for test in tests)]

    def _parsed(self, text: str) -> "Condition":
        match = CONDITION.fullmatch(text)
        if not match or not match["value"]:
            raise InputError(f"--filter: {text!r} is no condition; write 'val.accuracy > 0.9', or 'name ~ search-*'")
        return Condition(self.resolve(match["key"], "--filter"), match["sign"], match["value"].strip("'\""))

    def _holds(self, row: Row, condition: "Condition") -> bool:
        found = self.value(row, condition.key)
        if found is None and condition.value not in ("null", "None"):
            return False
        numbers = _number(found), _number(condition.value)
        if not any(map(math.isnan, numbers)) and condition.sign != "~":
            return SIGNS[condition.sign](*numbers)
        if condition.sign in ("<", "<=", ">", ">="):
            return False
        return SIGNS[condition.sign](value_text(found), condition.value)

    def ordered(self, rows: Iterable[Row], key: str, *, is_reversed: bool = False) -> list[Row]:
        """Return the rows with the best first; of numbers that are no metrics, the lowest; those without the value last."""
        rows = list(rows)
        there = [row for row in rows if self.value(row, key) is not None]
        is_descending = (key in self.metrics and not self.is_minimized(key)) != is_reversed
        # Stable in both directions, so that equal rows stay in the order of their names.
        in_order = sorted(there, key=lambda row: row.name)
        in_order.sort(key=lambda row: self._rank(row, key), reverse=is_descending)
        return in_order + [row for row in rows if self.value(row, key) is None]

    def is_minimized(self, metric: str) -> bool:
        """Return whether lower values of a metric are better."""
        return metric in self.minimized or bool(LOWER_IS_BETTER.fullmatch(metric))

    def cost(self, row: Row, metric: str) -> float:
        """Return what is lower for a better row."""
        value = row.metrics.get(metric, math.nan)
        return math.inf if math.isnan(value) else value if self.is_minimized(metric) else -value

    def _rank(self, row: Row, key: str) -> tuple[float, str]:
        found = self.value(row, key)
        number = _number(found)
        return (math.inf, value_text(found)) if math.isnan(number) else (number, "")


class Condition(NamedTuple):
    """What a row must fulfil."""

    key: str
    sign: str
    value: str


def _number(value: Any) -> float:
    """Return a number, or NaN for anything else."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def chosen(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows that names or patterns such as `search-*` name; all if there are none.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    if not names:
        return list(rows)
    found: list[Row] = []
    for name in names:
        matching = [row for row in rows if any(fnmatchcase(each, name) for each in names_of(row))]
        if not matching:
            known = [each for row in rows for each in names_of(row)]
            raise InputError(
                f"{name or repr(name)}: no row has this name; " + nearest(name, known, "'./darkroom show' lists all")
            )
        found += [row for row in matching if row not in found]
    return found


def names_of(row: Row) -> list[str]:
    """Return the names by which a row can be called."""
    names = [row.name, row.candidate.experiment, group_of(row)[0], *row.also, row.candidate.commit[:7], row.candidate.commit]
    return [name for name in dict.fromkeys(names) if name]
