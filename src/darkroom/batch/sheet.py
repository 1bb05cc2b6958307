"""A sheet or a page of the first images that were predicted, as the network sees them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.batch.blocks import Blocks
from darkroom.data.bands import shown_image
from darkroom.data.images import encode
from darkroom.data.labels import SEPARATOR
from darkroom.pages.document import Html, element, join, listed, name_of, page, paragraph
from darkroom.pages.thumbnails import thumbnail
from darkroom.reporting.sheets import contact_sheet, save_sheet

COMMAND = "./darkroom predict"
ENDINGS = (".png", ".html")
SHOWN = 200  # images: a sheet of more is of no use


class Shown(NamedTuple):
    """A cell of the sheet."""

    name: str
    image: NDArray[np.uint8]
    """(H, W, 1) or (H, W, 3)."""
    predicted: str
    """The class, several of them, or `unknown`."""
    probability: str
    """Of the most probable class, with its name where that is not what is predicted."""
    actual: str | None

    @property
    def is_wrong(self) -> bool:
        """Whether its true class is known, and another one."""
        return bool(self.actual) and self.actual != self.predicted


def check_ending(out: Path) -> None:
    """Refuse a file that is neither a sheet nor a page."""
    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"--sheet: {out} does not end with {' or '.join(ENDINGS)}; name such a file")


def write_sheet(out: Path, blocks: Blocks) -> None:
    """Write the first images as a sheet (.png), or as a page (.html) that needs no other file.

    They are read and predicted again, in the same batches, so that a run that goes on has the same sheet.
    """
    shown = list(_cells(blocks))
    title = f"The first {SHOWN} images" if len(shown) == SHOWN else f"{len(shown)} images"
    if out.suffix.lower() == ".html":
        note = paragraph("Each image as the network sees it, and its most probable class.")
        files.write_text(out, page(title, note, element("section", listed(map(_card, shown), class_="images")), by=COMMAND))
        return
    captions = [_lines(each) for each in shown]
    sheet = contact_sheet([each.image for each in shown], captions, [each.is_wrong for each in shown], title=title)
    save_sheet(out, sheet, COMMAND)


def _cells(blocks: Blocks) -> Iterator[Shown]:
    count = 0
    for read, block in zip(blocks.inputs.read(blocks.predictor, 0), blocks.iterate(), strict=False):
        if read.images is None:
            continue
        found = block.predictions
        chosen = found.chosen if found.multilabel else None
        for number, (image, ((name, value),)) in enumerate(zip(read.images, found.most_probable(1), strict=True)):
            predicted = (SEPARATOR.join(chosen[number]) or "none") if chosen else found.named(number, name)
            probability = f"{value:.2f}" if predicted == name else f"{name} {value:.2f}"
            actual = found.actual[number] if found.actual else None
            pixels = shown_image(image.permute(1, 2, 0).numpy())
            yield Shown(found.paths[number], pixels, predicted, probability, actual)
            count += 1
            if count == SHOWN:
                return


def _lines(each: Shown) -> tuple[str, ...]:
    true = (f"true: {each.actual}",) if each.actual is not None else ()
    return (each.name.rpartition("/")[2], *true, f"{each.predicted} {each.probability}")


def _card(each: Shown) -> Html:
    picture = thumbnail(encode(each.image.squeeze(axis=2) if each.image.shape[2] == 1 else each.image), each.name)
    known = bool(each.actual)
    predicted = element("b", name_of(each.predicted), class_=("bad" if each.is_wrong else "good") if known else None)
    true = join(element("br"), "true: ", name_of(each.actual or "")) if known else None
    return join(picture, predicted, f" {each.probability}", true, element("br"), name_of(each.name))
