"""The section on single images: the worst mistakes, with what the network looked at."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.base.errors import InputError
from darkroom.data.labels import names
from darkroom.pages.document import Content, Html, element, folded, join, listed, missing, name_of, paragraph, table
from darkroom.pages.sections.words import ABSENT, decimal, each
from darkroom.pages.thumbnails import sheet, thumbnail
from darkroom.versions.damage import reading
from darkroom.versions.intervals import number
from darkroom.versions.recorded import EVALUATE
from darkroom.versions.results import Results

FILE, SHEET = f"{EVALUATE}/mistakes.parquet", f"{EVALUATE}/images/mistakes.png"
# Of all revisions together; each shows at least the second number.
MAX_IMAGES, FEWEST_SHARED = 24, 6
MAX_BYTES = 2_500_000  # in base64, so that the page stays below 5 MB
MAX_ROWS = 50
HEAT = "what speaks for the predicted class"
NOTE = "The most confident mistakes. Beside each image: the places that speak for the predicted class."
NO_NAMES = "Names of the images are in metrics/predictions.parquet, which this revision does not have."


class Mistake(NamedTuple):
    """A wrong prediction; its confidence is NaN where it is unknown."""

    id: str
    actual: str
    predicted: str
    confidence: float


def mistakes(found: Sequence[Results]) -> Html:
    """Draw the worst mistakes of every revision."""
    most = max(FEWEST_SHARED, MAX_IMAGES // len(found))
    return join(*each(found, lambda results: _one(results, most, MAX_BYTES // len(found))))


def _one(results: Results, most: int, most_bytes: int) -> Html:
    try:
        known = worst(results)
    except InputError:
        known = None
    if known == []:
        return paragraph("No test image was predicted wrongly.")
    by_id = {mistake.id: mistake for mistake in known or []}
    rows = _explained(results)[:most]
    cards = list(_cards(rows, by_id, most_bytes))
    if not cards and known is None:
        return join(_sheet(results), missing(NO_NAMES, "dvc repro evaluate"))
    shown = listed(cards, class_="images") if cards else _sheet(results)
    note = paragraph(NOTE) if any(row.get("heat") for row in rows) else None
    return join(note, shown, _by_name(known) if known else None)


def worst(results: Results) -> list[Mistake]:
    """Return the wrong predictions on the test split, the most confident first."""
    test = results.predictions.get("test")
    if test is None:
        return []
    rows = np.flatnonzero(~test.right)
    rows = rows[np.argsort(-test.confidence[rows], kind="stable")]
    actual, predicted = names(test.labels[rows], test.classes), names(test.predicted[rows], test.classes)
    ids, confidence = test.ids, test.confidence
    return [
        Mistake(ids[row], actual[place] or "none", predicted[place] or "none", float(confidence[row]))
        for place, row in enumerate(rows.tolist())
    ]


def _by_name(known: Sequence[Mistake]) -> Html:
    rows: list[list[Content]] = [
        [name_of(mistake.id), name_of(mistake.actual), name_of(mistake.predicted), decimal(mistake.confidence, 3)]
        for mistake in known[:MAX_ROWS]
    ]
    summary = f"{MAX_ROWS} of {len(known)} mistakes by name" if len(known) > MAX_ROWS else f"{len(known)} mistakes by name"
    return folded(summary, table(["image", "true", "predicted", "confidence"], rows, texts=(0, 1, 2)))


def _cards(rows: list[dict[str, Any]], known: dict[str, Mistake], most_bytes: int) -> Iterator[Html]:
    """Yield images with what the network looked at, until there are enough."""
    used = 0
    for row in rows:
        mistake = known.get(str(row.get("id"))) or _written(row)
        shown = (thumbnail(row[key], words) for key, words in (("image", mistake.id), ("heat", HEAT)) if row.get(key))
        pictures = [picture for picture in shown if picture is not None]
        used += sum(len(picture.markup) for picture in pictures)
        if used > most_bytes:
            return
        yield join(
            element("div", *pictures, class_="pair" if len(pictures) > 1 else None),
            element("b", name_of(mistake.id)),
            element("br"),
            "true: ",
            name_of(mistake.actual),
            element("br"),
            "predicted: ",
            name_of(mistake.predicted),
            f" {decimal(mistake.confidence, 2)}",
        )


def _explained(results: Results) -> list[dict[str, Any]]:
    """Return the rows of the table of explained mistakes; none in a revision of an earlier version."""
    try:
        content = results.bytes_of(FILE)
    except InputError:
        return []
    with reading(FILE, results.revision), pq.ParquetFile(pa.BufferReader(content)) as file:
        rows: list[dict[str, Any]] = next(file.iter_batches(batch_size=MAX_IMAGES), pa.record_batch({})).to_pylist()
        return rows


def _written(row: dict[str, Any]) -> Mistake:
    """Return a mistake as the table of explained ones has it."""
    actual, predicted = (str(row.get(key, ABSENT)) for key in ("true", "predicted"))
    return Mistake(str(row.get("id", ABSENT)), actual, predicted, number(str(row.get("confidence", ""))))


def _sheet(results: Results) -> Html:
    """Return the sheet that evaluate draws."""
    drawn = sheet(results.bytes_of(SHEET), "The most confident mistakes, each with its true and its predicted class")
    return drawn if drawn is not None else missing(f"{SHEET} is damaged", "dvc repro --force evaluate")
