"""Comparisons as lines for a terminal of 100 columns."""

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

from darkroom.base.errors import one_line
from darkroom.comparison.comparison import Comparison
from darkroom.comparison.matching import Matched
from darkroom.comparison.measured import ClassChange, Measured, MetricChange
from darkroom.comparison.predictions import Predictions, Rows
from darkroom.comparison.verdict import Verdict
from darkroom.versions.text import aligned, width_of

WIDTH = 100
NAME_WIDTH, CELL_WIDTH = 16, 36
# Columns of the tables of metrics and classes, after the name, and of metrics both values.
OF_METRIC = ("difference", "95 % interval", "p", "")
OF_CLASS = ("images", "F1 before", "after", "difference", "fixed", "broken")
# Of the many averages those that are shown without --all.
DETAILS = ("precision_macro", "recall_macro", "precision_weighted", "recall_weighted", "f1_weighted", "f1_micro")
# Measured on two cores; docs/experiments.md has the command.
SEEDS = (
    "Another seed alone changes metrics, too, and no test of two runs knows by how much: on digits, eight seeds of the default "
    "pipeline have test accuracies of 0.9889 to 0.9972, a standard deviation of 0.0026; './darkroom repeat --seeds 8 "
    "-S split.seed=0' measures yours."
)
NOISE = (
    "interval: 95 %, by a paired bootstrap of the images; p: how often chance alone makes such a difference, for accuracy by "
    "McNemar's exact test, else by exchanging predictions at random"
)


def report(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], limit: int | None) -> Iterator[str]:
    """Yield the lines of all comparisons, what the numbers mean, and verdicts last, where a person looks first."""
    for comparison in comparisons:
        yield from lines(comparison, limit)
        yield ""
    if any(comparison.measured for comparison in comparisons):
        yield from wrapped(NOISE)
    yield from wrapped(SEEDS)
    yield from gate_lines(verdicts)


def lines(comparison: Comparison, limit: int | None) -> Iterator[str]:
    """Yield the lines of a comparison, with at most `limit` classes, images, parameters and files; None: all."""
    yield from wrapped(f"compare: {comparison.first} -> {comparison.second}, {comparison.split}")
    for note in notes(comparison):
        yield from wrapped(f"note: {note}")
    for command in commands(comparison):
        yield f"  run: {one_line(command)}"  # whole, to be copied
    yield from _metrics(comparison, limit)
    if comparison.measured:
        yield from _classes(comparison.measured, limit)
        yield from _images("fixed", comparison.measured.matched.fixed, comparison.measured.matched, limit)
        yield from _images("broken", comparison.measured.matched.broken, comparison.measured.matched, limit)
    yield from _changes(comparison, limit)


def notes(comparison: Comparison) -> list[str]:
    """Return what a reader must know of the two revisions before all else."""
    found = [*comparison.first.notes, *comparison.second.notes]
    if comparison.measured is None:
        return [*found, f"metrics alone, since images cannot be compared: {comparison.why_not}"]
    matched = comparison.measured.matched
    counts = [
        (matched.only_first, f"are only in {comparison.first.name}"),
        (matched.only_second, f"are only in {comparison.second.name}"),
        (matched.relabelled, "have another label in each"),
    ]
    found += [f"{count} images {what} and are left out" for count, what in counts if count]
    if comparison.measured.units.member is not None:
        found.append(f"images belong to {comparison.measured.units.count} groups, which are drawn as a whole for the noise")
    return found


def commands(comparison: Comparison) -> list[str]:
    """Return the lines to type that make what is missing."""
    return list(dict.fromkeys(each.command for each in (comparison.first, comparison.second) if each.command))


def shown_metrics(comparison: Comparison, *, every: bool) -> list[MetricChange]:
    """Return the metrics to show: without the many averages unless all are asked for."""
    return [change for change in comparison.metrics if every or change.name not in DETAILS]


def _metrics(comparison: Comparison, limit: int | None) -> Iterator[str]:
    count = f", {len(comparison.measured.matched)} images of both" if comparison.measured else ""
    yield f"metrics{count}:"
    first, second = (shortened(each.name, NAME_WIDTH) for each in (comparison.first, comparison.second))
    rows = [["", first, second, *OF_METRIC]]
    rows += [metric_cells(change) for change in shown_metrics(comparison, every=limit is None)]
    yield from fitted(rows, right={1, 2, 3, 5})


def metric_cells(change: MetricChange) -> list[str]:
    """Return the cells of a metric: name, both values, difference, interval, p, verdict."""
    interval = f"{change.low:+.4f} to {change.high:+.4f}" if change.has_noise else ""
    p = "" if math.isnan(change.p) else "<0.001" if change.p < 0.001 else f"{change.p:.3f}"
    name = shortened(change.name, 24)
    return [name, number(change.first), number(change.second), number(change.difference, "+"), interval, p, change.verdict]


def number(value: float, sign: str = "") -> str:
    """Return a value with four decimals; `none` where there is none."""
    return ("" if sign else "none") if math.isnan(value) else f"{value:{sign}.4f}"


def _classes(measured: Measured, limit: int | None) -> Iterator[str]:
    changed = measured.changed_classes
    order = ", the largest change of F1 first" if len(changed) > 1 else ""
    yield f"classes: {len(changed)} of {len(measured.classes)} differ{order}"
    if changed:
        rows = [["", *OF_CLASS], *(class_cells(each) for each in changed[: _half(limit)])]
        yield from fitted(rows, right=range(1, 7))
    yield from _more(len(changed), _half(limit))


def class_cells(each: ClassChange) -> list[str]:
    """Return the cells of a class: name, images, both F1, difference, images fixed and broken."""
    values = [number(each.first), number(each.second), f"{each.difference:+.4f}"]
    return [shortened(each.name, CELL_WIDTH), f"{each.support}", *values, f"{each.fixed}", f"{each.broken}"]


def _half(limit: int | None) -> int | None:
    return None if limit is None else (limit + 1) // 2


def _images(kind: str, rows: Rows, matched: Matched, limit: int | None) -> Iterator[str]:
    yield f"{kind}: {len(rows)}"
    yield from fitted([image_cells(row, matched) for row in rows[:limit].tolist()])
    yield from _more(len(rows), limit)


def image_cells(row: int, matched: Matched) -> list[str]:
    """Return the cells of an image: id, true class, what each revision predicts, with the probability."""
    name = matched.second.name(matched.second.labels, row)
    said = [predicted(side, row) for side in (matched.first, matched.second)]
    return [matched.ids[row], f"true: {shortened(name, CELL_WIDTH)}", said[0], f"-> {said[1]}"]


def predicted(side: Predictions, row: int) -> str:
    """Return the class that is predicted for an image, and the probability."""
    return f"{shortened(side.name(side.predicted, row), CELL_WIDTH)} {side.confidence[row]:.2f}"


def _changes(comparison: Comparison, limit: int | None) -> Iterator[str]:
    yield f"parameters: {len(comparison.params) or 'the same'}"
    for param in comparison.params[:limit]:
        yield from wrapped(f"{param.key}: {param.first} -> {param.second}", indent=2)
    yield from _more(len(comparison.params), limit)
    yield f"data: {comparison.data.state}"
    for line in comparison.data.lines:
        yield from wrapped(line, indent=2)
    number = len(comparison.code)
    yield f"code: {'the same' if not number else '1 file differs' if number == 1 else f'{number} files differ'}"
    for file in comparison.code[:limit]:
        yield from wrapped(f"{file.path} {file.counts}", indent=2)
    yield from _more(len(comparison.code), limit)
    if comparison.costs:
        yield "cost:"
        yield from fitted([[each.name, each.first, "->", each.second] for each in comparison.costs])


def _more(total: int, limit: int | None) -> Iterator[str]:
    if limit is not None and total > limit:
        yield f"  … and {total - limit} more (--all, --html FILE)"


def gate_lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield the lines of verdicts."""
    for verdict in verdicts:
        yield from wrapped(f"gate: {verdict.gate.text}")
        yield from wrapped(f"{'pass' if verdict.passed else 'FAIL'} {verdict.name}: {verdict.reason}", indent=2)
        yield from wrapped(verdict.values, indent=2)
        for command in verdict.commands:
            yield f"    run: {one_line(command)}"


def fitted(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> Iterator[str]:
    """Yield rows of cells in columns; where they do not fit, the widest columns are made narrower."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(*cells, strict=True)]
    while sum(widths) + 2 * len(widths) > WIDTH:
        widths[widths.index(max(widths))] -= 1
    yield from aligned([[shortened(cell, width) for cell, width in zip(row, widths, strict=True)] for row in cells], right)


def wrapped(text: str, *, indent: int = 0) -> Iterator[str]:
    """Yield a text in lines that fit, the further ones indented by two more; a word that is too long is cut in two."""
    line, start = "", " " * indent
    for word in one_line(text).split(" "):
        rest = word
        while rest:
            room = WIDTH - width_of(start) - width_of(line) - (1 if line else 0)
            if width_of(rest) <= room:
                line, rest = f"{line} {rest}" if line else rest, ""
            elif line:
                yield start + line
                line, start = "", " " * (indent + 2)
            else:
                part = "".join(islice(_fitting(rest, room), len(rest)))
                yield start + part
                rest, start = rest[len(part) :], " " * (indent + 2)
    if line:
        yield start + line


def shortened(name: str, width: int) -> str:
    """Return a name on one line that fits, with the end of a longer one, which differs where beginnings are the same."""
    text = one_line(name)
    if width_of(text) <= width:
        return text
    return "…" + "".join(_fitting(text[::-1], width - 1))[::-1]


def _fitting(text: str, width: int) -> Iterator[str]:
    for character in text:
        width -= width_of(character)
        if width < 0:
            return
        yield character
