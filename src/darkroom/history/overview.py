"""All together: read the rows, choose, fold and sort them, and say below the table what it shows."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from darkroom.base.errors import InputError, nearest, one_line
from darkroom.history.candidates import HEAD, WORKSPACE, find_candidates
from darkroom.history.groups import fold, group_of
from darkroom.history.query import Query, chosen
from darkroom.history.rows import Row, read_rows
from darkroom.repository.dvc import cache_dir

ALL = "all"
MONITOR = "train.monitor"
MAX_FAULTS = 10


@dataclass(frozen=True)
class Request:
    """What a person asks for."""

    names: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    sort: str | None = None
    is_reversed: bool = False
    opened: tuple[str, ...] = ()
    all_branches: bool = False


@dataclass(frozen=True)
class Overview:
    """Rows in order, and what belongs to them.

    Attributes
    ----------
    rows
        The rows of the table, folded.
    runs
        The same, with the trials and repetitions as rows of their own, in place of what they are folded into.
    metrics
        What the columns show: of the validation split, of test, and what was asked for.
    sort
        What they are sorted by.
    reference
        The row that changes are relative to: HEAD, or else the workspace.
    query
        Looks up values.
    opened
        Groups whose runs are shown.
    """

    rows: list[Row]
    runs: list[Row]
    metrics: tuple[str, ...]
    sort: str
    reference: Row
    query: Query
    opened: frozenset[str] = field(default_factory=frozenset)


def read_overview(root: Path, logs: Path, request: Request, now: float) -> Overview:
    """Read what was tried, and arrange it as asked.

    Parameters
    ----------
    root
        The project.
    logs
        The folder with the logs of trainings.
    request
        What is shown.
    now
        The time, in seconds since 1970.

    Raises
    ------
    InputError
        If a name, metric or condition is wrong.
    """
    candidates = find_candidates(root, all_branches=request.all_branches)
    everything = read_rows(root, candidates, cache=cache_dir(root), logs=logs)
    reference = next((row for row in everything if row.candidate.name == HEAD), everything[0])
    rows = [row for row in everything if row.has_results]
    metric, minimized = _monitored(reference, rows)
    query = Query(rows, now, minimized)
    sort = query.resolve(request.sort, "--sort") if request.sort else metric
    found = query.filtered(chosen(rows, request.names), request.conditions)
    ordered = query.ordered(found, sort, is_reversed=request.is_reversed) if sort else found
    # The test split never chooses the best trial.
    best_of = sort if sort in query.metrics and not sort.startswith("test.") else metric
    folded = _folded(ordered, query, best_of, request)
    folded = query.ordered(folded, sort, is_reversed=request.is_reversed) if sort else folded
    shown = (metric, _tested(query), sort) if sort in query.metrics else (metric, _tested(query))
    metrics = tuple(dict.fromkeys(each for each in shown if each))
    return Overview(_pinned(folded), _pinned(ordered), metrics, sort, reference, query, _opened(folded, request))


def _folded(rows: list[Row], query: Query, metric: str, request: Request) -> list[Row]:
    """Return the rows with their groups folded; runs that were asked for by their own names stay."""
    groups = {group for row in rows if (group := group_of(row)[0])}
    by_group = [name for name in request.names if name in groups]
    if request.names and not by_group:
        return rows
    return fold(rows, lambda row: query.cost(row, metric))


def _opened(rows: Sequence[Row], request: Request) -> frozenset[str]:
    """Return the groups whose runs are shown: those that were named."""
    groups = [row.group for row in rows if row.group]
    for name in request.opened:
        if name not in (ALL, *groups):
            hint = nearest(name, groups, "'--open all' opens all")
            raise InputError(f"--open: {name}: is no search or repetition here; {hint}")
    return frozenset(group for group in groups if ALL in request.opened or group in (*request.opened, *request.names))


def _pinned(rows: list[Row]) -> list[Row]:
    """Return the rows with the workspace and HEAD first."""
    first = [row for name in (WORKSPACE, HEAD) for row in rows if row.name == name]
    return first + [row for row in rows if row not in first]


def _monitored(reference: Row, rows: Sequence[Row]) -> tuple[str, frozenset[str]]:
    """Return the metric of the validation split by which epochs are chosen, and those that are minimised."""
    name = str(reference.params.get(MONITOR, "val/accuracy")).replace("/", ".")
    known = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    # A trial has no other loss than that of its training.
    wanted = ("published.criterion", name) if name == "val.loss" else (name,)
    first = next((metric for metric in known if metric.startswith("val.")), "")
    metric = next((metric for metric in (*wanted, "val.accuracy") if metric in known), first)
    is_minimized = reference.params.get("train.monitor_mode") == "min"
    return metric, frozenset({metric}) if is_minimized else frozenset()


def _tested(query: Query) -> str:
    tested = [metric for metric in query.metrics if metric.startswith("test.")]
    return "test.accuracy" if "test.accuracy" in tested else next(iter(tested), "")


def notes(overview: Overview) -> Iterator[str]:
    """Yield what stands below the table, a paragraph each."""
    folded = [row for row in overview.rows if row.group]
    closed = [row.group for row in folded if row.group not in overview.opened]
    order = f"sorted by {overview.sort}" if overview.sort else "in no order, since none has metrics"
    opening = f"; './darkroom show {shlex.quote(one_line(closed[0]))}' lists the runs of {one_line(closed[0])}" if closed else ""
    count = "1 result" if len(overview.runs) == 1 else f"{len(overview.runs)} results"
    yield f"{count}, {order}{opening}."
    trial = next((row.name for row in overview.runs if group_of(row)[1] == "trial"), None)
    if overview.sort.startswith("test."):
        yield "What is chosen by the test split looks better there than it is on new images; choose by the validation split."
    elif trial:
        best = next((row.name for row in folded if group_of(row.members[0])[1] == "trial"), trial)
        yield (
            "Trials have no test metrics, since the test split chooses nothing: "
            f"'dvc exp apply {shlex.quote(one_line(best))} && dvc repro' adopts one and measures it."
        )
    faults = [f"{one_line(row.name)}: {one_line(fault)}" for row in overview.runs for fault in row.faults]
    yield from faults[:MAX_FAULTS]
    if len(faults) > MAX_FAULTS:
        yield f"… and {len(faults) - MAX_FAULTS} more; --csv lists all."
