"""How sections write metrics, numbers, names and what is not there."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from darkroom.base.errors import InputError
from darkroom.pages.document import Content, Html, command, element, join, name_of
from darkroom.versions.intervals import Interval
from darkroom.versions.results import Results

# In the order in which a person asks.
METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "macro F1",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "auroc": "ROC-AUC",
    "average_precision": "average precision",
    "mean_average_precision": "mean average precision",
    "top5_accuracy": "top-5 accuracy",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "log_loss": "log loss",
    "loss": "loss",
    "conformal_coverage": "coverage of sets",
    "conformal_size": "classes in a set",
    "false_alarms": "false alarms",
}
SPLITS = {"train": "training", "val": "validation", "test": "test", "left_out": "left out"}
ABSENT = "-"
QUOTED = re.compile(r"'((?:dvc|git|\./darkroom) [^']+)'")


def metric_name(name: str) -> str:
    """Return the words for a metric."""
    return METRICS.get(name, name.replace("_", " "))


def ordered(names: Iterable[str]) -> list[str]:
    """Return metrics in the order in which they are shown."""
    known = list(METRICS)
    return sorted(dict.fromkeys(names), key=lambda name: (known.index(name) if name in known else len(known), name))


def decimal(value: float, digits: int = 4) -> str:
    """Return a number in text, a dash for NaN."""
    if not math.isfinite(value):
        return ABSENT
    if value and abs(value) < 10**-digits:
        return f"{value:.2g}"
    return f"{value:.{digits}f}"


def difference(value: float, other: float, digits: int = 4) -> str:
    """Return how much more a value is than another one, with its sign."""
    found = value - other
    return ABSENT if not math.isfinite(found) else f"{found:+.{digits}f}" if round(found, digits) else "±0"


def between(found: Interval, digits: int = 3) -> str | None:
    """Return the interval in text; None if it is unknown."""
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return None
    return f"{found.low:.{digits}f} to {found.high:.{digits}f}"


def with_interval(found: Interval) -> Html:
    """Return a value with its interval below it."""
    text = between(found)
    return join(decimal(found.value), element("br") if text else None, element("small", text) if text else None)


def sentence(error: InputError) -> Html:
    """Return why something is not shown, with the lines to type set as such."""
    pieces = QUOTED.split(str(error))
    parts = [command(piece) if place % 2 else piece for place, piece in enumerate(pieces)]
    return element("p", *parts, class_="missing")


def each(found: Sequence[Results], draw: Callable[[Results], Content], *, named: bool | None = None) -> Iterator[Content]:
    """Yield what is drawn of each revision, or the sentence on why it is not there; under its name if there are several."""
    named = len(found) > 1 if named is None else named
    for results in found:
        try:
            drawn = draw(results)
        except InputError as error:
            drawn = sentence(error)
        if drawn is not None:
            yield join(element("h3", name_of(results.name)) if named else None, drawn)


def readable(found: Sequence[Results], read: Callable[[Results], object]) -> tuple[list[Results], list[Html]]:
    """Return the revisions of which something can be read, and a sentence for each of the others."""
    there, sentences = [], []
    for results in found:
        try:
            read(results)
            there.append(results)
        except InputError as error:
            sentences.append(sentence(error))
    return there, sentences
