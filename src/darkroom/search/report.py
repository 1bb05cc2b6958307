"""How a search ends: its best trials as a table, pages and plots that work offline, the commands that promote the best."""

import csv
import html
import io
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from darkroom import files, paths
from darkroom.errors import InputError
from darkroom.experiments.overrides import SECTIONS, with_settings
from darkroom.experiments.text import described, experiment_name, shown, table
from darkroom.presets import set_arguments
from darkroom.search.charts import history_chart, importance_chart, pareto_chart, slice_charts
from darkroom.search.results import history, importances, ranked
from darkroom.search.search import SearchResult
from darkroom.search.space import Space

SHOWN_TRIALS = 10
HISTORY, IMPORTANCE = "history.csv", "importance.csv"
ENDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "ended early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}
# DVC takes it for a part of the pipeline's own: the plots are there once there was a search.
PLOTS = f"""# Written by ./darkroom tune.
plots:
- search_history:
    title: Values in the course of the search
    x: trial
    x_label: trial
    y:
      {HISTORY}:
      - value
      - best
    y_label: value
"""
PLOT_OF_IMPORTANCE = f"""- search_importance:
    template: bar_horizontal
    title: What mattered in the search
    x: importance
    x_label: importance
    y:
      {IMPORTANCE}: key
    y_label: key
"""
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{font-family: sans-serif; margin: 2em auto; max-width: 70em}} table {{border-collapse: collapse}}
td, th {{border-bottom: 1px solid #ddd; padding: .2em .7em; text-align: left}} svg {{max-width: 100%; height: auto}}</style>
</head><body><h1>{title}</h1><p>{summary}</p>
{charts}
<table>{rows}</table></body></html>
"""


def write_report(found: SearchResult, metrics: Sequence[str], studies: Path, tables: Path) -> Path:
    """Write the page `<study>.html` into the folder `studies`, and what `dvc plots` shows into `tables`; return the page."""
    study, trials, name = found.study, found.trials.counted(), found.study.study_name
    tables.mkdir(parents=True, exist_ok=True)
    steps = history(study, trials)
    _write_csv(tables / HISTORY, ["trial", "value", "best", "metric", "study"], [[*step, metrics[0], name] for step in steps])
    shares = importances(study)
    _write_csv(tables / IMPORTANCE, ["key", "importance", "study"], [[key, share, name] for key, share in shares.items()])
    files.write_text(tables / "dvc.yaml", PLOTS + (PLOT_OF_IMPORTANCE if shares else ""))
    charts = [history_chart(history(study, trials, place), metric) for place, metric in enumerate(metrics)]
    charts += [importance_chart(importances(study, place), metric) for place, metric in enumerate(metrics)]
    charts += [pareto_chart(ranked(study, trials), metrics)] if len(metrics) > 1 else []
    charts += slice_charts(trials, metrics[0])
    header = ["trial", *metrics, "state", "seconds", "settings", "reason"]
    in_order = [*ranked(study, trials), *(trial for trial in trials if trial.state != TrialState.COMPLETE)]
    rows = [header, *([*_row(found, trial), trial.user_attrs.get("reason", "")] for trial in in_order)]
    page = studies / f"{name}.html"
    files.write_text(
        page,
        PAGE.format(
            title=html.escape(f"Search {name}"),
            summary=html.escape(counts(trials)),
            charts="\n".join(chart for chart in charts if chart),
            rows="\n".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows),
        ),
    )
    return page


def closing_lines(found: SearchResult, metrics: Sequence[str], page: Path, before: dict[str, Any]) -> list[str]:
    """Return what is said in the end.

    Parameters
    ----------
    found
        The search.
    metrics
        What was made best.
    page
        What `write_report` has written.
    before
        Content of the params.yaml that `-S` arguments would change.
    """
    study, trials = found.study, found.trials.counted()
    best = ranked(study, trials)
    lines = [
        "",
        *table([_row(found, trial) for trial in best[:SHOWN_TRIALS]], ["trial", *metrics, "state", "seconds", "settings"]),
        "",
    ]
    lines.append(f"tune: {counts(trials)}")
    failed: dict[str, str] = {
        trial.user_attrs.get("reason", ""): _name(found, trial) for trial in trials if trial.state == TrialState.FAIL
    }
    lines += [f"tune: {name} failed: {reason}" for reason, name in failed.items()]
    if shares := importances(study):
        lines.append(f"tune: importance: {'  '.join(f'{key} {share:.0%}' for key, share in shares.items())}")
    lines.append(f"tune: drawn in {paths.shown(page)}, and in 'dvc plots show'")
    if best:
        name = _name(found, best[0])
        lines += ["", f"dvc exp apply {name} && dvc repro   # its parameters and its model; evaluate and predict run"]
        with suppress(InputError):  # text that a shell would change: the experiment has it as well
            lines.append(f"dvc exp run {' '.join(map(_quoted, arguments(found.trials.space, best[0], before)))}")
    return [*lines, f"optuna-dashboard {shlex.quote(found.address)}"]


def arguments(space: Space, trial: FrozenTrial, before: dict[str, Any]) -> list[str]:
    """Return the `-S` arguments that turn a params.yaml into that of a trial.

    Raises
    ------
    InputError
        If a value cannot be passed through a shell.
    """
    after = with_settings(space.content, settings_of(space, trial))
    changed = {
        section: {key: value for key, value in after[section].items() if before[section].get(key) != value}
        for section in SECTIONS
    }
    return set_arguments(before, {"tune": {section: values for section, values in changed.items() if values}})


def settings_of(space: Space, trial: FrozenTrial) -> dict[str, Any]:
    """Return what a trial of a study changed."""
    return space.suggest(lambda key, _: trial.params[key])


def counts(trials: Sequence[FrozenTrial]) -> str:
    """Say how many trials came to which end."""
    numbers = {word: sum(trial.state == state for trial in trials) for state, word in ENDS.items()}
    return f"{len(trials)} trials: " + ", ".join(f"{number} {word}" for word, number in numbers.items() if number)


def _row(found: SearchResult, trial: FrozenTrial) -> list[str]:
    values = [shown(float(value)) for value in trial.values or []] or ["-"] * len(found.study.directions)
    seconds = trial.user_attrs.get("seconds")
    settings = described(settings_of(found.trials.space, trial)) if set(trial.params) else "-"
    return [_name(found, trial), *values, ENDS.get(trial.state, ""), "-" if seconds is None else f"{seconds:.0f}", settings]


def _quoted(word: str) -> str:
    """Return a word of `set_arguments`, which may hold single quotes but nothing that means something within double ones."""
    return f'"{word}"' if "'" in word and "!" not in word else shlex.quote(word)


def _name(found: SearchResult, trial: FrozenTrial) -> str:
    return experiment_name(found.study.study_name, trial.number)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    files.write_text(path, stream.getvalue())
