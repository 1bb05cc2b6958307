"""Comparisons as Markdown for a pull request: a headline, gates and metrics; all else folded."""

from collections.abc import Iterable, Iterator, Sequence

from darkroom.comparison.comparison import Comparison
from darkroom.comparison.text import (
    NOISE,
    OF_CLASS,
    OF_METRIC,
    SEEDS,
    class_cells,
    commands,
    metric_cells,
    notes,
    predicted,
    shown_metrics,
)
from darkroom.comparison.verdict import Verdict
from darkroom.versions.text import escaped

# A comment on GitHub may have 65 536 characters.
SHOWN_IMAGES, SHOWN = 30, 30


def name(text: str) -> str:
    """Return a name that comes from the data or from Git. Inside of code no `@name` calls a person, and no `#1` an issue."""
    return f"<code>{escaped(text)}</code>"


def markdown(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> str:
    """Return the text of a comment."""
    parts = [*_gates(verdicts), *(line for each in comparisons for line in _comparison(each))]
    return "\n".join([*parts, f"<sub>{escaped(NOISE)}<br>{escaped(SEEDS)}</sub>", ""])


def _gates(verdicts: Sequence[Verdict]) -> Iterator[str]:
    if not verdicts:
        return
    failed = sum(not each.passed for each in verdicts)
    yield f"### {f'{failed} of {len(verdicts)} gates failed' if failed else 'All gates passed'}"
    rows = [
        [
            "✅ pass" if each.passed else "❌ fail",
            name(each.gate.text),
            name(each.name),
            escaped(each.reason),
            escaped(each.values),
        ]
        for each in verdicts
    ]
    yield from _table(["", "gate", "revision", "verdict", "measured"], rows)


def _comparison(comparison: Comparison) -> Iterator[str]:
    first, second = name(str(comparison.first)), name(str(comparison.second))
    yield f"### {second} compared with {first}, {comparison.split} split"
    yield ""
    if comparison.measured:
        matched = comparison.measured.matched
        yield f"{len(matched)} images of both: **{len(matched.fixed)} fixed, {len(matched.broken)} broken**"
        yield ""
    yield from (f"- {escaped(note)}" for note in notes(comparison))
    yield from (f"- run: {name(command)}" for command in commands(comparison))
    head = ["metric", name(comparison.first.name), name(comparison.second.name), *OF_METRIC]
    rows = [[escaped(cell) for cell in metric_cells(change)] for change in shown_metrics(comparison, every=False)]
    yield from _table(head, rows, numbers=range(1, 6))
    if comparison.measured:
        yield from _folded_classes(comparison)
        yield from _folded_images(comparison)
    yield from _folded_changes(comparison)


def _folded_classes(comparison: Comparison) -> Iterator[str]:
    assert comparison.measured
    changed = comparison.measured.changed_classes
    if not changed:
        return
    rows = [[name(each.name), *map(escaped, class_cells(each)[1:])] for each in changed[:SHOWN]]
    head = ["class", *OF_CLASS]
    yield from _folded(f"Classes: {len(changed)} differ", [*_table(head, rows, numbers=range(1, 7)), *_more(len(changed), SHOWN)])


def _folded_images(comparison: Comparison) -> Iterator[str]:
    assert comparison.measured
    matched = comparison.measured.matched
    lines: list[str] = []
    for kind, rows in (("fixed", matched.fixed), ("broken", matched.broken)):
        if len(rows):
            cells = [
                [
                    name(matched.ids[row]),
                    name(matched.second.name(matched.second.labels, row)),
                    *(name(predicted(side, row)) for side in (matched.first, matched.second)),
                ]
                for row in rows[:SHOWN_IMAGES].tolist()
            ]
            head = [kind, "true class", name(comparison.first.name), name(comparison.second.name)]
            lines += [*_table(head, cells), *_more(len(rows), SHOWN_IMAGES)]
    if lines:
        yield from _folded(f"Images: {len(matched.fixed)} fixed, {len(matched.broken)} broken", lines)


def _folded_changes(comparison: Comparison) -> Iterator[str]:
    lines: list[str] = []
    if comparison.params:
        rows = [[name(each.key), name(each.first), name(each.second)] for each in comparison.params[:SHOWN]]
        head = ["parameter", name(comparison.first.name), name(comparison.second.name)]
        lines += [*_table(head, rows), *_more(len(comparison.params), SHOWN)]
    if not comparison.data.is_same:
        lines += [f"Data: {comparison.data.state}", "", *(f"- {escaped(line)}" for line in comparison.data.lines), ""]
    if comparison.code:
        files = [f"- {name(each.path)} {escaped(each.counts)}" for each in comparison.code[:SHOWN]]
        lines += ["Code:", "", *files, "", *_more(len(comparison.code), SHOWN)]
    if comparison.costs:
        rows = [[escaped(cell) for cell in (each.name, each.first, each.second)] for each in comparison.costs]
        lines += _table(["cost", name(comparison.first.name), name(comparison.second.name)], rows)
    same = [what for what, is_same in (("data", comparison.data.is_same), ("code", not comparison.code)) if is_same]
    summary = f"Changed: {len(comparison.params)} parameters, {len(comparison.code)} files of code"
    yield from _folded(f"{summary}; the same {' and '.join(same)}" if same else summary, lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> list[str]:
    marks = ["---:" if place in set(numbers) else "---" for place in range(len(head))]
    return ["", *("| " + " | ".join(cells) + " |" for cells in (head, marks, *rows)), ""]


def _more(total: int, limit: int) -> list[str]:
    return [f"… and {total - limit} more", ""] if total > limit else []


def _folded(summary: str, lines: Iterable[str]) -> Iterator[str]:
    # The empty lines let Markdown inside of HTML be Markdown.
    yield from ("<details>", f"<summary>{escaped(summary)}</summary>", "", *lines, "</details>", "")
