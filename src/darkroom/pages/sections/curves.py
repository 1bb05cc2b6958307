"""The section on the training: metrics over epochs, with the published epoch marked."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from darkroom.base.errors import InputError
from darkroom.pages.document import Html, columns, element, figure, join, paragraph
from darkroom.pages.lines import Point, Series, is_finite, line_chart
from darkroom.pages.sections.words import metric_name, ordered, readable
from darkroom.versions.intervals import number
from darkroom.versions.recorded import TRAIN
from darkroom.versions.results import Results

PLOTS = f"{TRAIN}/plots/metrics"
# Of train.json: what is no metric.
SIZES = ("epoch", "parameters", "multiply_adds", "trainable")
MAX_CHARTS = 9


class Curve(NamedTuple):
    """A table of DVCLive."""

    split: str
    points: list[Point]


def curves(found: Sequence[Results]) -> Html:
    """Draw the curves of all revisions over each other."""
    there, sentences = readable(found, lambda results: results.rows_of(f"{PLOTS}/val/loss.tsv"))
    if not there:
        return join(*sentences)
    charts = [chart for name in _names(there)[:MAX_CHARTS] if (chart := _chart(name, there)) is not None]
    return join(*sentences, _note(there), columns(*charts))


def _names(found: Sequence[Results]) -> list[str]:
    measured = [name for each in found for name in each.published if name not in SIZES]
    names = ordered(name.removeprefix("val/") for name in [*measured, "accuracy", "f1_macro"] if "loss" not in name)
    return ["loss", *names, "lr"]


def _note(found: Sequence[Results]) -> Html | None:
    epochs = [each.published.get("epoch") for each in found]
    if len(found) == 1 and epochs[0] is not None:
        return paragraph(f"The ring marks the published epoch, {epochs[0]}.")
    return paragraph("Rings mark the published epochs.") if any(epoch is not None for epoch in epochs) else None


def _chart(name: str, found: Sequence[Results]) -> Html | None:
    """Return a chart of one metric; None if no revision has it."""
    series = [
        Series(_series_name(results, curve.split, found), curve.points, place, curve.split == "training", _marked(results, curve))
        for place, results in enumerate(found)
        for curve in _read(results, name)
    ]
    if len(found) == 1:  # two colours, as there is no other use for them
        series = [Series(each.name, each.points, int(each.dashed), each.dashed, each.marked) for each in series]
    series = [each for each in series if any(map(is_finite, each.points))]
    if not series:
        return None
    title = {"lr": "Learning rate", "loss": "Loss"}.get(name, f"Validation {metric_name(name)}")
    is_share = (
        name != "lr" and name != "loss" and all(0 <= point.y <= 1 for each in series for point in each.points if is_finite(point))
    )
    chart = line_chart(series, x_label="epoch", label=title, from_zero=name == "lr", is_share=is_share)
    return element("div", element("h3", title), figure(chart, class_="chart"))


def _series_name(results: Results, split: str, found: Sequence[Results]) -> str:
    if len(found) == 1:
        return split or "all"
    return f"{results.name}, {split}" if split == "training" else results.name


def _marked(results: Results, curve: Curve) -> float | None:
    epoch = results.published.get("epoch")
    is_number = isinstance(epoch, int | float) and math.isfinite(epoch)
    return float(epoch) if is_number and curve.split == "validation" else None  # type: ignore[arg-type]


def _read(results: Results, name: str) -> list[Curve]:
    """Return the curves of one metric: of validation, and of the loss that of training, too."""
    paths = {"validation": f"{PLOTS}/val/{name}.tsv"}
    if name == "loss":
        paths["training"] = f"{PLOTS}/train/loss.tsv"
    if name == "lr":
        paths = {"": f"{PLOTS}/lr.tsv"}
    found = []
    for split, path in paths.items():
        try:
            rows = results.rows_of(path)
        except InputError:
            continue
        column = path.rpartition("/")[2].removesuffix(".tsv")
        found.append(Curve(split, [Point(number(row.get("step")), number(row.get(column))) for row in rows]))
    return found
