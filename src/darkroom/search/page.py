"""The page of a search, which works offline: the best trial and how to adopt it, charts, a table of all trials."""

from collections.abc import Iterator, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from darkroom.experiments.text import experiment_name, value_text
from darkroom.pages import charts as page_charts
from darkroom.pages import document
from darkroom.pages.document import Html, element
from darkroom.search.charts import Dot, history_chart, scale_of, scatter
from darkroom.search.results import history, importances, ranked
from darkroom.search.search import SearchResult
from darkroom.search.space import labels, valued

# Keys that a chart of the metric over their values is drawn for, and trials of a Pareto front that are named on top.
MAX_KEYS = 12
MAX_FRONT = 8
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
}


def search_page(found: SearchResult, metrics: Sequence[str], summary: str) -> str:
    """Return the page of a search.

    Parameters
    ----------
    found
        The search.
    metrics
        Names of what was optimised.
    summary
        The number of trials in each state.
    """
    trials = found.trials.counted()
    best = ranked(found.study, trials)
    shares = list(_importances(found, metrics))
    sections = [document.section("Best trial", *_best(found, metrics, best, summary), ident="best")]
    if best:
        # With nothing beside it a chart would be as wide as the page.
        beside = [element("div", element("h3", "Importance of the parameters"), *shares)] if shares else [element("div")]
        histories = document.columns(*_histories(found, metrics, trials, best), *beside)
        sections.append(document.section("History", histories, ident="history"))
    if best:
        sections.append(document.section("Parameters", *_parameters(found, metrics, trials, best), ident="parameters"))
    sections.append(document.section("Trials", *_trials(found, metrics, [*best, *_unfinished(trials)]), ident="trials"))
    return document.page(f"Search {found.study.study_name}", *sections)


def plain_value(value: Any) -> str:
    """Return a value of params.yaml as a person would say it: the last name of a `_target_`, its arguments, no brackets."""
    if isinstance(value, dict):
        name = [str(value["_target_"]).rpartition(".")[2]] if "_target_" in value else []
        return ", ".join([*name, *(f"{key} {plain_value(each)}" for key, each in value.items() if key != "_target_")]) or "none"
    if isinstance(value, list):
        return ", ".join(map(plain_value, value)) or "none"
    return "none" if value is None else value_text(value)


def name_of(found: SearchResult, trial: FrozenTrial) -> str:
    """Return the name of a trial's experiment."""
    return experiment_name(found.study.study_name, trial.number)


def _unfinished(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state != TrialState.COMPLETE]


def _settings(found: SearchResult, trial: FrozenTrial) -> dict[str, Any]:
    return found.trials.space.suggest(lambda key, _: trial.params[key]) if trial.params else {}


def _best(found: SearchResult, metrics: Sequence[str], best: Sequence[FrozenTrial], summary: str) -> Iterator[Html]:
    if not best:
        yield document.paragraph(f"No trial has finished; {summary}.")
        return
    first = best[0]
    values = zip(metrics, first.values, strict=True)
    numbers = [element("div", element("b", value_text(float(value))), element("span", metric)) for metric, value in values]
    yield element("div", *numbers, class_="numbers")
    yield document.paragraph(document.name_of(name_of(found, first)), f", the best of {summary}.")
    yield document.table(
        ("parameter", "value"), ((key, plain_value(value)) for key, value in _settings(found, first).items()), texts=(0, 1)
    )
    yield document.paragraph(
        document.command(f"dvc exp apply {name_of(found, first)} && dvc repro"),
        " takes over its parameters and its model; evaluate and predict run.",
    )
    if len(metrics) > 1:
        front = [trial for trial in found.study.best_trials if trial.number != first.number][:MAX_FRONT]
        others = ", ".join(
            f"{name_of(found, trial)} ({', '.join(value_text(float(value)) for value in trial.values)})" for trial in front
        )
        if others:
            yield document.paragraph(f"No trial is better in every metric than this one or {others}.")


def _dot(found: SearchResult, trial: FrozenTrial, x: Any, y: float, best: Sequence[FrozenTrial]) -> Dot:
    is_best = bool(best) and trial.number == best[0].number
    return Dot(x, y, name_of(found, trial), trial.state == TrialState.COMPLETE, is_best)


def _histories(
    found: SearchResult, metrics: Sequence[str], trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial]
) -> Iterator[Html]:
    for place, metric in enumerate(metrics):
        steps = history(found.study, trials, place)
        dots = [_dot(found, trial, trial.number, trial.values[place], best) for trial in trials if trial in best]
        caption = "A dot is a trial, the line the best so far; the ring is the best trial."
        chart = history_chart(steps, dots, metric=metric)
        yield element("div", element("h3", metric), document.figure(chart, caption))
    if len(metrics) > 1:
        dots = [_dot(found, trial, trial.values[0], trial.values[1], best) for trial in best]
        chart = scatter(dots, scale_of([dot.x for dot in dots]), x_label=metrics[0], y_label=metrics[1])
        yield element("div", element("h3", f"{metrics[1]} over {metrics[0]}"), document.figure(chart))


def _importances(found: SearchResult, metrics: Sequence[str]) -> Iterator[Html]:
    for place, metric in enumerate(metrics):
        if shares := importances(found.study, place):
            rows = [(key, page_charts.bar([share], max(shares.values())), f"{share:.0%}") for key, share in shares.items()]
            caption = element("figcaption", f"How much of the differences in {metric} each parameter explains.")
            yield element("div", document.table(("parameter", "", "share"), rows, texts=(0, 1)), caption)


def _parameters(
    found: SearchResult, metrics: Sequence[str], trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial]
) -> Iterator[Html]:
    """Yield the first metric over each key, those that matter most first."""
    shares = importances(found.study)
    keys = {key for trial in trials if trial.values for key in trial.params}
    ordered = sorted(keys, key=lambda key: (-shares.get(key, 0), key))[:MAX_KEYS]
    parts = [element("div", element("h3", key), _over(found, metrics[0], key, trials, best)) for key in ordered]
    yield document.columns(*parts)
    grey = " Grey dots are pruned trials." if any(trial.state == TrialState.PRUNED and trial.values for trial in trials) else ""
    yield element("figcaption", f"{metrics[0]} of every trial over its value of a parameter; the ring is the best trial.{grey}")


def _over(found: SearchResult, metric: str, key: str, trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial]) -> Html:
    shown = [trial for trial in trials if trial.values and key in trial.params]
    tried = found.trials.space.keys[key]
    categories = labels(tried.choices) if tried.choices is not None else []
    names = [plain_value(valued(tried, label)) for label in categories]
    scale = scale_of([trial.params[key] for trial in shown], categories=categories, names=names, is_log=tried.log)
    dots = [_dot(found, trial, trial.params[key], trial.values[0], best) for trial in shown]
    return scatter(dots, scale, x_label=key, y_label=metric)


def _on_one_line(text: str) -> Html:
    """Return text that makes its column as wide as it is."""
    return element("bdi", text, style="white-space:nowrap")


def _trials(found: SearchResult, metrics: Sequence[str], trials: Sequence[FrozenTrial]) -> Iterator[Html]:
    keys = [key for key in found.trials.space.keys if any(key in trial.params for trial in trials)]
    rows = []
    for trial in trials:
        values = [value_text(float(value)) for value in trial.values or []] or ["-"] * len(metrics)
        seconds = trial.user_attrs.get("seconds")
        settings = _settings(found, trial)
        rows.append(
            [
                _on_one_line(name_of(found, trial)),
                *values,
                STATES.get(trial.state, ""),
                "-" if seconds is None else f"{seconds:.0f}",
                *(_on_one_line(plain_value(settings[key])) if key in settings else "-" for key in keys),
                trial.user_attrs.get("reason", ""),
            ]
        )
    header = ["trial", *metrics, "state", "seconds", *keys, "reason"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    state = 1 + len(metrics)
    yield document.table(header, rows, texts=(0, state, *range(state + 2, len(header))))
