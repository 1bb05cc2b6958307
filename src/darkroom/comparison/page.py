"""Comparisons as a page in one file, with thumbnails of the images that were fixed and broken."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from darkroom.base.errors import InputError
from darkroom.comparison.comparison import Comparison
from darkroom.comparison.matching import Matched
from darkroom.comparison.predictions import Rows
from darkroom.comparison.text import NOISE, OF_CLASS, OF_METRIC, SEEDS, class_cells, commands, metric_cells, notes, shown_metrics
from darkroom.comparison.verdict import Verdict
from darkroom.data.pack import Pack
from darkroom.pages import document
from darkroom.pages.document import Content, Html, element, join, name_of, paragraph
from darkroom.pages.thumbnails import thumbnail

SHOWN_IMAGES, SHOWN_NAMES, SHOWN = 36, 500, 200
# Of all thumbnails together, so that the page stays small.
MAX_BYTES = 3_000_000
VERDICTS = {"better": "good", "worse": "bad"}


def page(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict], raw: Path) -> str:
    """Return the page.

    Parameters
    ----------
    comparisons, verdicts
        What it shows.
    raw
        The pack of images; where it has an image with these pixels, a thumbnail is drawn.
    """
    thumbnails = Thumbnails(raw)
    parts = [_gates(verdicts) if verdicts else None]
    parts += [_comparison(each, place, thumbnails) for place, each in enumerate(comparisons)]
    explained = document.section("What the numbers mean", paragraph(NOISE), paragraph(SEEDS), ident="meaning")
    revisions = [comparisons[0].first.name] if comparisons else []
    names = [*revisions, *(each.second.name for each in comparisons), *(each.name for each in verdicts)]
    return document.page(" · ".join(dict.fromkeys(names)), *parts, explained, by="./darkroom compare")


class Thumbnails:
    """Small images out of the pack, by their pixels.

    Parameters
    ----------
    raw
        The pack; it may be missing.
    """

    def __init__(self, raw: Path):
        self.left = MAX_BYTES
        try:
            self.pack: Pack | None = Pack.open(raw, verify=False)
            self.rows = {digest: row for row, digest in enumerate(self.pack.pixel_hashes)}
        except InputError:
            self.pack, self.rows = None, {}

    def of(self, pixel_hash: bytes, alt: str) -> Html | None:
        """Return an image, None if the pack has no such pixels or the page is large enough."""
        row = self.rows.get(pixel_hash)
        if self.pack is None or row is None or self.left <= 0:
            return None
        written = io.BytesIO()
        try:
            shown = self.pack.shown(row)
        except InputError:  # damaged
            return None
        Image.fromarray(shown[..., 0] if shown.shape[2] == 1 else shown).save(written, "PNG")
        made = thumbnail(written.getvalue(), alt)
        self.left -= len(made.markup) if made else 0
        return made


def _gates(verdicts: Sequence[Verdict]) -> Html:
    items = [
        join(
            element("b", "pass" if each.passed else "fail", class_="good" if each.passed else "bad"),
            " ",
            name_of(each.gate.text),
            " · ",
            name_of(each.name),
            element("br"),
            name_of(each.reason),
            element("br"),
            element("small", name_of(each.values)),
        )
        for each in verdicts
    ]
    return document.section("Gates", document.listed(items), ident="gates")


def _comparison(comparison: Comparison, place: int, thumbnails: Thumbnails) -> Html:
    title = join(
        name_of(str(comparison.second)), " compared with ", name_of(str(comparison.first)), f", {comparison.split} split"
    )
    parts: list[Content] = []
    if comparison.measured:
        parts.append(_headline(comparison))
    parts += [document.listed(map(name_of, notes(comparison)))] if notes(comparison) else []
    parts += [document.missing("What is missing can be made:", *commands(comparison))] if commands(comparison) else []
    parts.append(_metrics(comparison))
    if comparison.measured:
        matched = comparison.measured.matched
        parts += [_classes(comparison)]
        for kind, rows in (("Broken", matched.broken), ("Fixed", matched.fixed)):
            parts += list(_images(kind, rows, comparison, thumbnails))
    parts += list(_changes(comparison))
    return element("section", element("h2", title), *parts, id=f"comparison-{place}")


def _headline(comparison: Comparison) -> Html:
    assert comparison.measured
    matched = comparison.measured.matched
    accuracy = next(change for change in comparison.metrics if change.name == "accuracy")
    numbers = [
        (f"{accuracy.second:.4f}", f"accuracy, {accuracy.verdict}", VERDICTS.get(accuracy.verdict)),
        (f"{accuracy.difference:+.4f}", f"95 % interval {accuracy.low:+.4f} to {accuracy.high:+.4f}", None),
        (f"{len(matched.fixed)}", "images fixed", None),
        (f"{len(matched.broken)}", "images broken", None),
        (f"{len(matched)}", "images of both", None),
    ]
    cells = [element("div", element("b", number, class_=kind), element("span", text)) for number, text, kind in numbers]
    return element("div", *cells, class_="numbers")


def _metrics(comparison: Comparison) -> Html:
    rows: list[list[Content]] = []
    for change in shown_metrics(comparison, every=True):
        *cells, verdict = metric_cells(change)
        rows.append([*cells, element("span", verdict, class_=VERDICTS.get(verdict))])
    names = [name_of(each.name) for each in (comparison.first, comparison.second)]
    return document.table(["metric", *names, *OF_METRIC], rows)  # the verdict is not to be wrapped, as numbers


def _classes(comparison: Comparison) -> Html | None:
    assert comparison.measured
    changed = comparison.measured.changed_classes
    if not changed:
        return None
    rows: list[list[Content]] = [[name_of(each.name), *class_cells(each)[1:]] for each in changed[:SHOWN]]
    count = f"{len(changed)} of {len(comparison.measured.classes)} classes differ"
    return join(
        element("h3", "Classes"),
        paragraph(f"{count}, the largest change of F1 first."),
        document.table(["class", *OF_CLASS], rows),
        _more(len(changed), SHOWN),
    )


def _images(kind: str, rows: Rows, comparison: Comparison, thumbnails: Thumbnails) -> Iterator[Html]:
    assert comparison.measured
    matched = comparison.measured.matched
    yield element("h3", f"{kind}: {len(rows)}")
    if not len(rows):
        return
    cards, without = [], 0
    for row in rows[:SHOWN_IMAGES].tolist():
        made = thumbnails.of(matched.pixel_hash(row), matched.ids[row])
        without += made is None
        cards.append(join(made, *_caption(row, matched)))
    if without:
        why = "the page would become too large" if thumbnails.left <= 0 else "data/raw here does not have their pixels"
        yield document.missing(f"{without} without a thumbnail, since {why}.")
    yield document.listed(cards, class_="images")
    if len(rows) > SHOWN_IMAGES:
        further = rows[SHOWN_IMAGES:SHOWN_NAMES].tolist()
        yield document.folded(
            f"{len(further)} of {len(rows) - SHOWN_IMAGES} more by name",
            document.listed([join(*_caption(row, matched, separator=" · ")) for row in further]),
        )


def _caption(row: int, matched: Matched, separator: str | None = None) -> Iterator[Content]:
    """Yield the lines below an image, or parts of one line."""
    between: Content = element("br") if separator is None else separator
    yield element("b", name_of(matched.ids[row]))
    yield from (between, "true: ", name_of(matched.second.name(matched.second.labels, row)))
    for when, side in (("before: ", matched.first), ("after: ", matched.second)):
        yield from (between, when, name_of(side.name(side.predicted, row)), f" {side.confidence[row]:.2f}")


def _changes(comparison: Comparison) -> Iterator[Html]:
    names = [name_of(each.name) for each in (comparison.first, comparison.second)]
    yield element("h3", "Changed")
    if comparison.params:
        rows: list[list[Content]] = [[name_of(each.key), name_of(each.first), name_of(each.second)] for each in comparison.params]
        yield document.table(["parameter", *names], rows, texts=(0, 1, 2))
    kinds = {"parameters": not comparison.params, "data": comparison.data.is_same, "code": not comparison.code}
    same = [what for what, is_same in kinds.items() if is_same]
    if same:
        yield paragraph(f"The same: {', '.join(same)}.")
    if not comparison.data.is_same:
        yield join(paragraph(f"Data: {comparison.data.state}"), document.listed(map(name_of, comparison.data.lines)))
    if comparison.code:
        files: list[list[Content]] = [[name_of(each.path), each.counts] for each in comparison.code[:SHOWN]]
        yield join(document.table(["code", "lines"], files), _more(len(comparison.code), SHOWN))
    if comparison.costs:
        costs: list[list[Content]] = [[each.name, each.first, each.second] for each in comparison.costs]
        yield document.table(["cost", *names], costs)


def _more(total: int, limit: int) -> Html | None:
    return paragraph(f"… and {total - limit} more.") if total > limit else None
