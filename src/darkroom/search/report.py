"""The report of a search: a table of the best trials, a page that works offline, data for `dvc plots`, commands for the best."""

import csv
import html
import io
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.experiments.overrides import SECTIONS, with_settings
from darkroom.experiments.presets import set_arguments
from darkroom.experiments.text import experiment_name, settings_text, table, value_text
from darkroom.search.results import history, importances, ranked
from darkroom.search.search import SearchResult
from darkroom.search.space import Space

SHOWN_TRIALS = 10
# Keys that a chart of the metric over their values is drawn for.
MAX_KEYS = 12
HISTORY, IMPORTANCE = "history.csv", "importance.csv"
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}
# DVC reads it as part of the pipeline: the plots exist once there was a search.
PLOTS = f"""# Written by ./darkroom tune.
plots:
- search_history:
    title: Search history
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
    title: Hyperparameter importance
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
    """Write the page `<study>.html` into the folder `studies`, and the data of `dvc plots` into `tables`; return the page."""
    study, trials, name = found.study, found.trials.counted(), found.study.study_name
    tables.mkdir(parents=True, exist_ok=True)
    steps = history(study, trials)
    _write_csv(tables / HISTORY, ["trial", "value", "best", "metric", "study"], [[*step, metrics[0], name] for step in steps])
    shares = importances(study)
    _write_csv(tables / IMPORTANCE, ["key", "importance", "study"], [[key, share, name] for key, share in shares.items()])
    files.write_text(tables / "dvc.yaml", PLOTS + (PLOT_OF_IMPORTANCE if shares else ""))
    header = ["trial", *metrics, "state", "seconds", "settings", "reason"]
    in_order = [*ranked(study, trials), *(trial for trial in trials if trial.state != TrialState.COMPLETE)]
    rows = [header, *([*_row(found, trial), trial.user_attrs.get("reason", "")] for trial in in_order)]
    page = studies / f"{name}.html"
    files.write_text(
        page,
        PAGE.format(
            title=html.escape(f"Search {name}"),
            summary=html.escape(counts(trials)),
            charts="\n".join(draw_charts(study, trials, metrics)),
            rows="\n".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows),
        ),
    )
    return page


def draw_charts(study: Study, trials: Sequence[FrozenTrial], metrics: Sequence[str]) -> list[str]:
    """Return SVGs: history and importances of each metric, two metrics against each other, the first metric over each key.

    Charts of `optuna.visualization.matplotlib` leave out pruned trials and, with several metrics, the best value so far.
    """
    charts: list[str] = []
    for place, metric in enumerate(metrics):
        with _chart(charts, "trial", metric) as axes:
            steps = history(study, trials, place)
            axes.scatter([step.trial for step in steps], [step.value for step in steps], s=14, label="trial")
            axes.plot([step.trial for step in steps], [step.best for step in steps], label="best", drawstyle="steps-post")
            axes.legend()
        if shares := importances(study, place):
            with _chart(charts, f"importance for {metric}", "") as axes:
                axes.barh(list(shares)[::-1], list(shares.values())[::-1])
    if len(metrics) > 1:
        with _chart(charts, metrics[0], metrics[1]) as axes:
            for trial in ranked(study, trials):
                axes.scatter(*trial.values[:2], s=14, c="tab:blue")
                axes.annotate(str(trial.number), trial.values[:2], fontsize="x-small")
    for key in sorted({key for trial in trials if trial.values for key in trial.params})[:MAX_KEYS]:
        with _chart(charts, key, metrics[0]) as axes:
            shown = [trial for trial in trials if trial.values and key in trial.params]
            values = [trial.params[key] for trial in shown]
            is_number = all(isinstance(value, float | int) and not isinstance(value, bool) for value in values)
            colours = ["tab:blue" if trial.state == TrialState.COMPLETE else "lightgrey" for trial in shown]
            axes.scatter(values if is_number else list(map(str, values)), [trial.values[0] for trial in shown], s=14, c=colours)
            if getattr(shown[0].distributions[key], "log", False):
                axes.set_xscale("log")
    return charts


@contextmanager
def _chart(charts: list[str], x: str, y: str) -> Iterator[Any]:
    """Yield the axes of a chart, whose SVG is appended to `charts`."""
    # Imported here: it takes half a second. Not pyplot, which looks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.set(xlabel=x, ylabel=y)
    yield axes
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    charts.append(text[text.index("<svg") :])


def closing_lines(found: SearchResult, metrics: Sequence[str], page: Path, before: dict[str, Any]) -> list[str]:
    """Return the lines that a search prints at its end.

    Parameters
    ----------
    found
        The search.
    metrics
        Names of what was optimised.
    page
        The page that `write_report` has written.
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
    lines.append(f"tune: charts are in {paths.shown(page)}, and in 'dvc plots show'")
    if best:
        name = _name(found, best[0])
        lines += ["", f"dvc exp apply {name} && dvc repro   # uses its parameters and model; evaluate and predict run"]
        with suppress(InputError):  # a value that a shell would change; 'dvc exp apply' still works
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
    """Return the settings of a trial of a study."""
    return space.suggest(lambda key, _: trial.params[key])


def counts(trials: Sequence[FrozenTrial]) -> str:
    """Return the number of trials, and of those in each state, as text."""
    numbers = {word: sum(trial.state == state for trial in trials) for state, word in STATES.items()}
    return f"{len(trials)} trials: " + ", ".join(f"{number} {word}" for word, number in numbers.items() if number)


def _row(found: SearchResult, trial: FrozenTrial) -> list[str]:
    values = [value_text(float(value)) for value in trial.values or []] or ["-"] * len(found.study.directions)
    seconds = trial.user_attrs.get("seconds")
    settings = settings_text(settings_of(found.trials.space, trial)) if set(trial.params) else "-"
    return [_name(found, trial), *values, STATES.get(trial.state, ""), "-" if seconds is None else f"{seconds:.0f}", settings]


def _quoted(word: str) -> str:
    """Return a word of `set_arguments` for a shell; inside double quotes none of its characters is special, but for `!`."""
    return f'"{word}"' if "'" in word and "!" not in word else shlex.quote(word)


def _name(found: SearchResult, trial: FrozenTrial) -> str:
    return experiment_name(found.study.study_name, trial.number)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    files.write_text(path, stream.getvalue())
