"""The section on confidence: how often predictions of a confidence are right."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from darkroom.base.errors import InputError
from darkroom.pages.document import Html, columns, element, figure, join, name_of, paragraph
from darkroom.pages.lines import Point, Series, reliability_chart
from darkroom.pages.sections.words import SPLITS, decimal, readable
from darkroom.versions.intervals import interval_in, number, wilson
from darkroom.versions.recorded import EVALUATE
from darkroom.versions.results import Results, Row

FEW = 5  # images of a bin: of fewer nothing can be said
CALIBRATION = "models/calibration.json"
# Values of the column `calibration`, which tables of earlier versions do not have.
BEFORE, AFTER = "before", "after"
ABSTENTION = ("confidence", "precision", "coverage")
SETS = ("conformal_coverage", "conformal_size")


def reliability(found: Sequence[Results]) -> Html:
    """Draw accuracy over confidence on test and validation."""
    there, sentences = readable(found, lambda results: _rows(results, "test"))
    if not there:
        return join(*sentences)
    note = paragraph(
        "On the dotted line, confidence is accuracy; below it, the model is too sure. Lines are intervals of 95 %; ",
        f"bins of fewer than {FEW} images are left out.",
    )
    charts = [_chart(there, split) for split in ("test", "val")]
    return join(*sentences, note, *(_temperature(results, len(found) > 1) for results in there), columns(*charts))


def _rows(results: Results, split: str) -> list[Row]:
    return results.rows_of(f"{EVALUATE}/reliability_{split}.csv")


def _chart(found: Sequence[Results], split: str) -> Html | None:
    series = []
    for place, results in enumerate(found):
        try:
            rows = _rows(results, split)
        except InputError:
            continue
        before, after = (_points([row for row in rows if row.get("calibration", BEFORE) == when]) for when in (BEFORE, AFTER))
        if len(found) > 1:
            series.append(Series(results.name, after or before, place))
            continue
        is_same = not after or before == after
        series.append(Series("accuracy" if is_same else "before calibration", before, 0, not is_same))
        series += [] if is_same else [Series("after calibration", after, 1)]
    series = [each for each in series if each.points]
    if not series:
        return None
    return element("div", element("h3", SPLITS[split].capitalize()), figure(reliability_chart(series), class_="chart"))


def _points(rows: Sequence[Row]) -> list[Point]:
    """Return confidence, accuracy and its interval of bins with enough images."""
    points = []
    for row in rows:
        count = number(row.get("count"))
        if math.isfinite(count) and count >= FEW:
            found = wilson(number(row.get("accuracy")), int(count))
            points.append(Point(number(row.get("confidence")), *found))
    return points


def _temperature(results: Results, several: bool) -> Html | None:
    """Return what was fitted on validation: the temperature, what it changes, from where on the model abstains."""
    try:
        fitted = results.json_of(CALIBRATION)
    except InputError:
        return None
    temperature = fitted.get("temperature")
    if not isinstance(temperature, int | float):
        return None
    text = f"Calibrated at temperature {decimal(float(temperature), 3)}, which was fitted on validation"
    before, after = (interval_in(results.intervals.get("test"), name).value for name in ("ece", "ece_calibrated"))
    if math.isfinite(before) and math.isfinite(after):
        text += f"; the calibration error on test is {decimal(after)} with it and {decimal(before)} without"
    abstain = fitted.get("abstain")
    found = abstain if isinstance(abstain, dict) else {}
    values = [float(found[key]) for key in ABSTENTION if isinstance(found.get(key), int | float)]
    if len(values) == len(ABSTENTION):
        confidence, precision, coverage = values
        text += f". It abstains below a confidence of {decimal(confidence, 3)}: on validation {precision:.1%} of the other "
        text += f"{coverage:.1%} are right"
    text += _doubt(results, fitted)
    return paragraph(join(name_of(results.name), ": ") if several else None, f"{text}.")


def _doubt(results: Results, fitted: Mapping[str, Any]) -> str:
    """Return what is known of images of no trained class and of conformal sets, if these were asked for."""
    test = {name: interval_in(results.intervals.get("test"), name).value for name in (*SETS, "false_alarms")}
    text = ""
    if isinstance(fitted.get("foreign"), dict) and math.isfinite(test["false_alarms"]):
        text += f". Of the known images of test it calls {test['false_alarms']:.1%} unknown, as if of no trained class"
    stated = fitted["conformal"].get("coverage") if isinstance(fitted.get("conformal"), dict) else None
    if isinstance(stated, int | float) and all(math.isfinite(test[name]) for name in SETS):
        covered, size = (test[name] for name in SETS)
        text += f". Sets of classes hold the correct one for {covered:.1%} of test, where {float(stated):.1%} were asked for, "
        text += f"and have {decimal(size, 2)} classes on average"
    return text
