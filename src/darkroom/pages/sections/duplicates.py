"""The section on equal and nearly equal images, as split found them."""

import csv
import heapq
import io
from collections import Counter
from collections.abc import Iterator, Sequence

from darkroom.base.errors import InputError
from darkroom.pages.document import Content, Html, element, folded, join, name_of, paragraph, table
from darkroom.pages.sections.words import SPLITS, each
from darkroom.pages.thumbnails import sheet
from darkroom.versions.damage import reading
from darkroom.versions.recorded import SPLIT
from darkroom.versions.results import Results, Row

FILE, SHEET = "data/split/duplicates.csv", f"{SPLIT}/images/duplicates.png"
SHOWN = 12


def duplicates(found: Sequence[Results]) -> Html | None:
    """Draw the pairs of every revision; of several with the same pairs those of the first."""
    try:
        contents = {results.bytes_of(FILE) for results in found}
    except InputError:
        return join(*each(found, _one))
    return join(*each(found[:1] if len(contents) == 1 else found, _one))


def _one(results: Results) -> Html:
    content = results.bytes_of(FILE)
    with reading(FILE, results.revision):
        kinds = Counter(kind for row in _rows(content) for kind in _kinds(row))
        notable = heapq.nsmallest(SHOWN, _rows(content), key=_rank)
        pairs = [_cells(row) for row in notable]
    if not kinds:
        return paragraph("Among the images are no duplicates.")
    count = kinds["equal"] + kinds["near"]
    text = f"{count} pairs: {kinds['equal']} of equal images, {kinds['near']} of nearly equal ones; "
    text += f"{kinds['across']} across two splits, {kinds['conflict']} with different labels."
    header: list[Content] = ["images", "classes", "splits", "kind"]
    shown = table(header, pairs, texts=range(len(header)))
    note = element("small", f"The {len(pairs)} most notable; {FILE} has all.") if count > len(pairs) else None
    return join(paragraph(text), _sheet(results), folded("Pairs by name", shown, note))


def _rows(content: bytes) -> Iterator[Row]:
    return csv.DictReader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)


def _kinds(row: Row) -> Iterator[str]:
    yield row["kind"]
    if "left_out" not in (row["split"], row["other_split"]) and row["split"] != row["other_split"]:
        yield "across"
    if row["class"] != row["other_class"]:
        yield "conflict"


def _rank(row: Row) -> tuple[bool, bool, int]:
    kinds = set(_kinds(row))
    return "conflict" not in kinds, "across" not in kinds, int(row["distance"])


def _cells(row: Row) -> list[Content]:
    def both(first: str, second: str) -> Content:
        return name_of(first) if first == second else join(name_of(first), element("br"), name_of(second))

    splits = [SPLITS.get(row[key], row[key]) for key in ("split", "other_split")]
    kind = "equal" if row["kind"] == "equal" else f"{int(row['distance'])} of 256 bits differ"
    return [both(row["id"], row["other_id"]), both(row["class"], row["other_class"]), both(*splits), kind]


def _sheet(results: Results) -> Content:
    try:
        drawn = sheet(results.bytes_of(SHEET), "Pairs of duplicates")
    except InputError:
        return None
    return drawn
