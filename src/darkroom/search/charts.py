"""Charts of a search as SVG, which a page holds itself: nothing is loaded when it is opened."""

import io
from collections.abc import Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from darkroom.search.results import Step

WIDTH_INCHES, HEIGHT_INCHES = 9.0, 3.0
MOST_SLICES = 12


def history_chart(steps: Sequence[Step], metric: str) -> str:
    """Return the values of the trials, and the best up to each, as SVG."""
    figure, axes = _figure()
    numbers = [step.trial for step in steps]
    axes.scatter(numbers, [step.value for step in steps], s=14, label="trial")
    axes.plot(numbers, [step.best for step in steps], label="best", drawstyle="steps-post")
    axes.set_xlabel("trial")
    axes.set_ylabel(metric)
    axes.legend()
    return _svg(figure)


def importance_chart(shares: dict[str, float], metric: str) -> str:
    """Return how much each key mattered, as SVG; nothing if that is not known."""
    if not shares:
        return ""
    figure, axes = _figure()
    keys = list(shares)[::-1]
    axes.barh(keys, [shares[key] for key in keys])
    axes.set_xlabel(f"importance for {metric}")
    return _svg(figure)


def pareto_chart(best_first: Sequence[FrozenTrial], metrics: Sequence[str]) -> str:
    """Return the first two metrics of the trials against each other, as SVG."""
    figure, axes = _figure()
    axes.scatter([trial.values[0] for trial in best_first], [trial.values[1] for trial in best_first], s=14)
    for trial in best_first:
        axes.annotate(str(trial.number), trial.values[:2], fontsize="x-small")
    axes.set_xlabel(metrics[0])
    axes.set_ylabel(metrics[1])
    return _svg(figure)


def slice_charts(trials: Sequence[FrozenTrial], metric: str) -> list[str]:
    """Return the metric of the trials over each key, as SVG; what was ended early is grey."""
    keys = sorted({key for trial in trials for key in trial.params})[:MOST_SLICES]
    charts = []
    for key in keys:
        of_key = [trial for trial in trials if key in trial.params and trial.values]
        if not of_key:
            continue
        figure, axes = _figure()
        finished = [trial.state == TrialState.COMPLETE for trial in of_key]
        values = [trial.params[key] for trial in of_key]
        is_number = all(isinstance(value, float | int) and not isinstance(value, bool) for value in values)
        x = values if is_number else [str(value) for value in values]
        axes.scatter(x, [trial.values[0] for trial in of_key], s=14, c=["tab:blue" if each else "lightgrey" for each in finished])
        if getattr(of_key[0].distributions[key], "log", False):
            axes.set_xscale("log")
        axes.set_xlabel(key)
        axes.set_ylabel(metric)
        charts.append(_svg(figure))
    return charts


def _figure() -> tuple[Any, Any]:
    # Imported here: it takes half a second. Not pyplot, which looks for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
