"""A page on the difference between photos and data/raw: the answer, the tests, the classes, and the most foreign photos."""

from pathlib import Path

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.data.listing import printable
from darkroom.drift import words
from darkroom.drift.check import Drift, in_order
from darkroom.drift.power import percent
from darkroom.pages.document import Html, element, join, listed, name_of, page, paragraph, section, table
from darkroom.pages.thumbnails import thumbnail

SHOWN = 96  # photos
TITLE = "Do new photos differ from the training data?"
NOTE = (
    "A small p says that images drawn at random from both sides together rarely differ as much. All tests together are wrong on "
    "one folder of ordinary photos in a hundred, so that one such answer is no proof. The last column says what so "
    "many photos would have shown nine times out of ten: a smaller difference may be there."
)
FAR = "The most foreign ones first. The first number is the share of known images that are as far from their class."


def check_ending(out: Path) -> None:
    """Refuse a file that is no page."""
    if out.suffix.lower() != ".html":
        raise InputError(f"--sheet: {out} does not end with .html; name such a file")


def write_page(out: Path, drift: Drift) -> None:
    """Write the page, which needs no other file."""
    findings = table(words.HEADER, [words.row(drift, each) for each in drift.judgement.findings], texts=(0, 1, 3, 4))
    shown = in_order(drift)[:SHOWN]
    more = len(drift.paths) - len(shown)
    rest = paragraph(f"… and {more} more, which the table has ('--out photos.csv').") if more else None
    cards = listed((_card(drift, place) for place in shown), class_="images")
    content = [
        paragraph("Drift: ", element("b", words.answer(drift)), "."),
        *(paragraph(f"{note}.") for note in drift.notes),
        section("What was compared", findings, paragraph(NOTE), ident="tests"),
        _classes(drift),
        section("Photos", paragraph(f"{words.foreign(drift).capitalize()}."), paragraph(FAR), cards, rest, ident="photos"),
    ]
    files.write_text(out, page(TITLE, *content, by="./darkroom drift"))


def _classes(drift: Drift) -> Html | None:
    if drift.shares is None:
        return None

    def shown(value: float | None) -> str:
        return "" if value is None else percent(value)

    changed = sorted(drift.shares, key=lambda each: -abs(each.corrected - each.known))
    rows: list[list[Html | str]] = [
        [name_of(each.name), *map(shown, (each.known, each.predicted, each.corrected, each.low, each.high))] for each in changed
    ]
    header = ("class", "of validation", "predicted", "corrected", "from", "to")
    why = (
        "What the model predicts for the photos, and that corrected for the mistakes which it makes on validation, with the "
        "ends of a 95 % interval. It holds if photos of a class look as before: of foreign photos it says nothing."
    )
    return section("Classes", paragraph(why), table(header, rows), ident="classes")


def _card(drift: Drift, place: int) -> Html:
    path = drift.paths[place]
    mark = element("b", "foreign", class_="bad") if drift.foreign.is_foreign[place] else "rank"
    predicted = drift.predicted[place] if drift.predicted is not None else None
    confidence = drift.confidence[place] if drift.confidence is not None else None
    more = [
        join(name_of(predicted), f" {confidence:.2f}") if predicted is not None else None,
        name_of(printable(paths.shown(path))),
        join("like ", name_of(drift.same_as[place])) if drift.same_as[place] else None,
    ]
    parts = [part for line in more if line is not None for part in (element("br"), line)]
    return join(_thumbnail(path), mark, f" {percent(drift.foreign.p_values[place])}", *parts)


def _thumbnail(path: Path) -> Html | None:
    try:
        return thumbnail(path.read_bytes(), path.name)
    except OSError:
        return None
