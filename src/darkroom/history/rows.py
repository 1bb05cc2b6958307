"""The rows of the table: what each state of the project recorded, read from Git and, where it is there, from DVC's cache."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from darkroom.history.cached import read_cached, read_in_folder
from darkroom.history.candidates import HEAD, LOCK, Candidate
from darkroom.history.recorded import metrics_of, read_intervals, read_params, read_table
from darkroom.repository.git import prefix_of
from darkroom.repository.objects import read_objects
from darkroom.versions.durations import STATE_DIGITS, Log, logs_in, minutes_of
from darkroom.versions.lock import LockedStage, outputs, parse_lock
from darkroom.versions.parameters import Params, outdated
from darkroom.versions.recorded import (
    EVALUATE,
    INTERVALS,
    METRICS,
    PUBLISHED,
    RUN,
    WEIGHTS,
    mapping,
    metrics_in,
    published_in,
    read_json,
)

PARAMS = "params.yaml"
FILES = (LOCK, PARAMS, *METRICS, *PUBLISHED)
# With other parameters of a stage, what it and later ones have measured is of the past.
MEASURED_BY = {"download": ("train", "evaluate"), "split": ("train", "evaluate"), "train": ("train", "evaluate")}
COMMITTER = re.compile(r"^committer .* (\d+) [+-]\d{4}$", re.MULTILINE)
COMMIT = ""
HASH = re.compile(r"[0-9a-f]{7}")


@dataclass(frozen=True)
class Row:
    """One state of the project, or several of one search or repetition.

    Attributes
    ----------
    candidate
        Which state it is; of a search that of its best trial.
    subject
        First line of the commit's message.
    seconds
        When it was recorded, in seconds since 1970; None for the workspace.
    params
        Parameters by dotted key, with today's names.
    metrics
        Metrics by `<split>.<name>`.
    intervals
        Lower and upper end of the 95 % interval of some of them.
    minutes
        How long its training took.
    stages
        What its dvc.lock says.
    faults
        What is wrong with it, a short text each.
    also
        Names of other states that recorded the same.
    group
        Name of a search or repetition, of which `members` are the runs.
    spread
        Sample standard deviation of metrics of repetitions.
    """

    candidate: Candidate
    subject: str = ""
    seconds: int | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    minutes: float | None = None
    stages: Mapping[str, LockedStage] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    group: str = ""
    members: "tuple[Row, ...]" = ()
    spread: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its state."""
        return self.candidate.name

    @property
    def has_results(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.metrics or self.faults)


def read_rows(root: Path, candidates: list[Candidate], *, cache: Path | None, logs: Path) -> list[Row]:
    """Read what the candidates recorded; of states with equal results only the first is kept.

    Parameters
    ----------
    root
        The project.
    candidates
        The workspace, commits from the newest, and experiments.
    cache
        DVC's cache.
    logs
        The folder with the logs of trainings.
    """
    known = logs_in(logs)
    rows = [_read(each, texts, cache, known) for each, texts in zip(candidates, _texts(root, candidates), strict=True)]
    return list(_share_minutes(_without_copies(rows)))


def _texts(root: Path, candidates: list[Candidate]) -> Iterator[dict[str, str | None]]:
    """Yield the text of the commit, under an empty name, and of the files of each candidate."""
    prefix = prefix_of(root)
    commits = [each.commit for each in candidates if each.commit]
    names = [name for commit in commits for name in (commit, *(f"{commit}:{prefix}{file}" for file in FILES))]
    content = iter(read_objects(root, names))
    for each in candidates:
        if each.commit:
            yield {name: next(content) for name in (COMMIT, *FILES)}
        else:
            yield {COMMIT: "", **{name: _text(root / name) for name in (*FILES, INTERVALS)}}


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else None
    except OSError:
        return None


def _read(candidate: Candidate, texts: dict[str, str | None], cache: Path | None, logs: list[Log]) -> Row:
    commit = texts[COMMIT]
    if commit is None:
        return Row(candidate, faults=("its commit is missing or damaged; run: git fsck",))
    header, _, message = commit.partition("\n\n")
    committed = COMMITTER.search(header)
    seconds = int(committed[1]) if committed else None
    faults: list[str] = []
    stages, params = parse_lock(texts[LOCK] or ""), read_params(texts[PARAMS], faults)
    tables = {"evaluate": read_table(texts, METRICS, faults), "train": read_table(texts, PUBLISHED, faults)}
    faults += _drop_outdated(tables, stages, params)
    outs = outputs(stages)
    workspace, file = texts.get(INTERVALS), INTERVALS.removeprefix(f"{EVALUATE}/")
    intervals = read_json(workspace) if workspace else read_in_folder(cache, outs.get(EVALUATE), file)
    run = read_cached(cache, outs.get(RUN))
    names = [candidate.experiment, str(mapping(run).get("state", ""))[:STATE_DIGITS]]
    return Row(
        candidate,
        subject=message.partition("\n")[0],
        seconds=seconds,
        params=params,
        metrics=metrics_of(metrics_in(tables["evaluate"]), published_in(tables["train"])),
        intervals=read_intervals(intervals) if tables["evaluate"] else {},
        minutes=minutes_of(logs, names, seconds) if WEIGHTS in outs else None,
        stages=stages,
        faults=tuple(faults),
    )


def _drop_outdated(tables: dict[str, Mapping[str, Any]], stages: dict[str, LockedStage], params: Params) -> list[str]:
    """Empty the tables of metrics that do not belong to these parameters and this model, and return why."""
    faults = []
    for stage, changed in outdated(stages, params) if params else []:
        measured = [table for table in MEASURED_BY.get(stage, (stage,)) if tables.get(table)]
        if measured:
            faults.append(f"{next(iter(changed))} is not what {stage} ran with, so that its metrics are left out; run: dvc repro")
        for table in measured:
            tables[table] = {}
    deps, outs = stages.get("evaluate", LockedStage()).deps, outputs(stages)
    if tables["evaluate"] and WEIGHTS in deps and deps[WEIGHTS] != outs.get(WEIGHTS):
        faults.append("evaluate has measured another model, so that its metrics are left out; run: dvc repro")
        tables["evaluate"] = {}
    return faults


def _without_copies(rows: Iterable[Row]) -> list[Row]:
    """Keep one row of the workspace and commits with equal results, with the message and time of the first, which made them."""
    kept: list[Row] = []
    for row in rows:
        is_experiment = row.candidate.kind == "experiment"
        place = None if is_experiment else next((place for place, other in enumerate(kept) if _are_equal(row, other)), None)
        if place is None:
            kept.append(row)
        elif kept[place].candidate.kind == "workspace":
            kept[place] = replace(row, also=(kept[place].name,))
        else:
            named, other = (kept[place], row) if kept[place].name == HEAD else (row, kept[place])
            also = kept[place].also + (() if HASH.fullmatch(other.name) else (other.name,))
            kept[place] = replace(named, also=also, subject=row.subject, seconds=row.seconds, minutes=row.minutes)
    return kept


def _are_equal(row: Row, other: Row) -> bool:
    same = row.params == other.params and row.metrics == other.metrics and row.faults == other.faults
    return same and outputs(row.stages) == outputs(other.stages)


def _share_minutes(rows: list[Row]) -> Iterator[Row]:
    """Yield the rows, those whose training ran under another name with its minutes: an experiment that was applied, say."""
    known = {outputs(row.stages).get(WEIGHTS): row.minutes for row in rows if row.minutes is not None}
    for row in rows:
        yield row if row.minutes is not None else replace(row, minutes=known.get(outputs(row.stages).get(WEIGHTS, "none")))
