"""A sheet or a page of the images whose label is doubtful."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.explanation.overlay import png
from darkroom.labels.suspects import Suspect, Suspects
from darkroom.pages.document import Html, element, join, listed, name_of, page, paragraph
from darkroom.pages.thumbnails import thumbnail
from darkroom.reporting.sheets import contact_sheet, save_sheet

COMMAND = "./darkroom labels check"
ENDINGS = (".png", ".html")
SHOWN = 96  # images
TITLE = "Images whose label is doubtful"
NOTE = (
    "The class that is proposed comes from a classifier that never saw the image; the number is its probability. It is wrong on "
    "hard images, too: look at each. Nothing is changed until you write a class into the column label of the table."
)
Show = Callable[[int], NDArray[np.uint8]]
"""Returns the image of a row, (H, W, 1) or (H, W, 3) uint8."""


def check_ending(out: Path) -> None:
    """Refuse a file that is neither a sheet nor a page."""
    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"--sheet: {out} does not end with {' or '.join(ENDINGS)}; name such a file")


def write_sheet(out: Path, suspects: Suspects, show: Show) -> None:
    """Write the most doubtful images as a sheet (.png), or as a page (.html) that needs no other file."""
    shown = suspects.found[:SHOWN]
    if out.suffix.lower() == ".html":
        files.write_text(out, make_page(suspects, shown, show))
        return
    captions = [(each.id, f"label: {each.label}", f"{each.proposed} {each.confidence:.2f}?") for each in shown]
    title = f"{summary(suspects)}; the {len(shown)} most doubtful" if shown else "No doubtful label"
    sheet = contact_sheet([show(each.row) for each in shown], captions, [True] * len(shown), title=title)
    save_sheet(out, sheet, COMMAND)


def summary(suspects: Suspects) -> str:
    """Return how many labels are wrong, as one says it."""
    number = round(suspects.estimate)
    return f"About {number} of {suspects.count} labels {'is' if number == 1 else 'are'} probably wrong"


def make_page(suspects: Suspects, shown: Sequence[Suspect], show: Show) -> str:
    """Return the page as HTML."""
    more = len(suspects.found) - len(shown)
    rest = paragraph(f"… and {more} more, which the table has ('--out labels.csv').") if more > 0 else None
    cards = [_card(each, show) for each in shown]
    section = element("section", listed(cards, class_="images"), rest) if cards else None
    return page(TITLE, paragraph(element("b", f"{summary(suspects)}.")), paragraph(NOTE), section, by=COMMAND)


def _card(each: Suspect, show: Show) -> Html:
    lines = [
        join("label: ", element("b", name_of(each.label), class_="bad")),
        join("proposed: ", element("b", name_of(each.proposed), class_="good"), f" {each.confidence:.2f}"),
        name_of(each.id),
        name_of(each.note) if each.note else None,
    ]
    parts = [part for line in lines if line is not None for part in (element("br"), line)]
    return join(thumbnail(png(show(each.row)), each.id), *parts[1:])
