"""The report of a search: a table of the best trials, a page that works offline, data for `dvc plots`, commands for the best."""

import csv
import io
import json
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.experiments.overrides import SECTIONS, with_settings
from darkroom.experiments.presets import set_arguments
from darkroom.experiments.text import settings_text, table, value_text
from darkroom.search.page import STATES, name_of, search_page
from darkroom.search.results import history, importances, ranked
from darkroom.search.search import SearchResult
from darkroom.search.space import Space

SHOWN_TRIALS = 10
HISTORY, IMPORTANCE = "history.csv", "importance.csv"
# DVC reads it as part of the pipeline: the plots exist once there was a search.
PLOTS = """# Written by ./darkroom tune.
plots:
- search_history:
    template: search_history
    title: Search history
    x: trial
    x_label: trial
    y:
      history.csv: value
    y_label: {metric}
"""
PLOT_OF_IMPORTANCE = f"""- search_importance:
    template: search_importance
    title: Hyperparameter importance
    x: importance
    x_label: importance
    y:
      {IMPORTANCE}: key
    y_label: key
"""


def write_report(found: SearchResult, metrics: Sequence[str], studies: Path, tables: Path) -> Path:
    """Write the page `<study>.html` into the folder `studies`, and the data of `dvc plots` into `tables`; return the page."""
    study, trials, name = found.study, found.trials.counted(), found.study.study_name
    tables.mkdir(parents=True, exist_ok=True)
    steps = history(study, trials)
    _write_csv(tables / HISTORY, ["trial", "value", "best", "metric", "study"], [[*step, metrics[0], name] for step in steps])
    shares = importances(study)
    _write_csv(tables / IMPORTANCE, ["key", "importance", "study"], [[key, share, name] for key, share in shares.items()])
    files.write_text(tables / "dvc.yaml", PLOTS.format(metric=json.dumps(metrics[0])) + (PLOT_OF_IMPORTANCE if shares else ""))
    page = studies / f"{name}.html"
    files.write_text(page, search_page(found, metrics, counts(trials)))
    return page


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
        trial.user_attrs.get("reason", ""): name_of(found, trial) for trial in trials if trial.state == TrialState.FAIL
    }
    lines += [f"tune: {name} failed: {reason}" for reason, name in failed.items()]
    if shares := importances(study):
        lines.append(f"tune: importance: {'  '.join(f'{key} {share:.0%}' for key, share in shares.items())}")
    lines.append(f"tune: charts are in {paths.shown(page)}, and in 'dvc plots show'")
    if best:
        name = name_of(found, best[0])
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
    return [name_of(found, trial), *values, STATES.get(trial.state, ""), "-" if seconds is None else f"{seconds:.0f}", settings]


def _quoted(word: str) -> str:
    """Return a word of `set_arguments` for a shell; inside double quotes none of its characters is special, but for `!`."""
    return f'"{word}"' if "'" in word and "!" not in word else shlex.quote(word)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    files.write_text(path, stream.getvalue())
