"""Trials of a search and repetitions as one row each: a search is shown by its best trial, repetitions by their mean.

The best of several seeds would be luck, and the best trial has been chosen by the validation split: neither is chosen by test.
"""

import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from darkroom.history.rows import Row

# As `experiments.text.experiment_name` and `experiments.repeat.repetitions` name them.
RUN = re.compile(r"(?P<group>.+)-(?:(?P<trial>\d{4,})|(?P<kind>seed|fold)\d+)")
WORDS = {"trial": "trials", "seed": "seeds", "fold": "folds"}


def group_of(row: Row) -> tuple[str, str]:
    """Return the name of the search or repetition that a row belongs to, and the kind of its runs; empty texts for none.

    `./darkroom tune` and `repeat` begin the message of a commit with the experiment's name, so that another experiment which is
    called like a trial is none.
    """
    name = row.candidate.experiment
    match = RUN.fullmatch(name)
    if not match or not row.subject.startswith(f"{name}: "):
        return "", ""
    return match["group"], match["kind"] or "trial"


def fold(rows: Sequence[Row], cost: Callable[[Row], float]) -> list[Row]:
    """Return the rows with those of each search and repetition as one, where its first was.

    Parameters
    ----------
    rows
        The rows.
    cost
        What is lower for a better trial.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault(group_of(row), []).append(row)
    folded: list[Row] = []
    for row in rows:
        key = group_of(row)
        members = groups[key]
        if not key[0] or len(members) == 1:
            folded.append(row)
        elif members[0] is row:
            folded.append(_merged(key[0], key[1], sorted(members, key=lambda each: (cost(each), each.name))))
    return folded


def _merged(group: str, kind: str, members: list[Row]) -> Row:
    minutes = [row.minutes for row in members if row.minutes is not None]
    row = replace(
        members[0],
        group=group,
        members=tuple(members),
        seconds=max((row.seconds for row in members if row.seconds is not None), default=None),
        minutes=sum(minutes) if minutes else None,
        faults=tuple(f"{member.name}: {fault}" for member in members for fault in member.faults),
    )
    if kind == "trial":
        return row
    values = {metric: [row.metrics[metric] for row in members if metric in row.metrics] for metric in members[0].metrics}
    return replace(
        row,
        params=_common(members),
        metrics={metric: statistics.mean(each) for metric, each in values.items()},
        spread={metric: statistics.stdev(each) for metric, each in values.items() if len(each) > 1},
        intervals={},
    )


def _common(members: Sequence[Row]) -> Mapping[str, object]:
    """Return the parameters that all members share."""
    first = members[0].params
    return {key: value for key, value in first.items() if all(row.params.get(key, row) == value for row in members)}


def runs_text(row: Row) -> str:
    """Return how many runs a folded row has: `8 trials`."""
    return f"{len(row.members)} {WORDS[group_of(row.members[0])[1]]}"
