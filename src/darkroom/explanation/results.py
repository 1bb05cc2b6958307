"""A sheet or a page of explained images, each with the nearest training images beside it."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.data.listing import printable
from darkroom.explanation.explained import Explained, Near
from darkroom.explanation.overlay import Picture, png
from darkroom.pages.document import Html, element, image, join, listed, name_of, page, paragraph
from darkroom.reporting.sheets import contact_sheet, save_sheet

COMMAND = "./darkroom explain"
ENDINGS = (".png", ".html")
NOTE = (
    "Bright places speak for the class that is named under them: the more, the brighter. They show what the network used, which "
    "need not be what a person would look at. Nearest training images are those whose features before the last layer have the "
    "largest cosine: 1.00 is the same image, or nearly so."
)


def check_ending(out: Path) -> None:
    """Refuse a file that is neither a sheet nor a page."""
    if out.suffix.lower() not in ENDINGS:
        raise InputError(f"--out: {printable(str(out))} does not end with {' or '.join(ENDINGS)}; name such a file")


def write_explained(out: Path, found: Sequence[Explained], model: str) -> None:
    """Write a sheet as .png, or a page as .html that needs no other file."""
    if out.suffix.lower() == ".html":
        files.write_text(out, make_page(found, model))
        return
    save_sheet(out, draw(found), COMMAND)


def draw(found: Sequence[Explained]) -> Image.Image:
    """Return the sheet, a row for each image."""
    columns = 2 + max((len(each.near) for each in found), default=0)
    images: list[Picture | None] = []
    captions: list[tuple[str, ...]] = []
    wrong: list[bool] = []
    for each in found:
        row = [*_own_cells(each), *(_near_cell(near, each) for near in each.near)]
        row += [(None, ("", "", ""), False)] * (columns - len(row))
        images += [cell[0] for cell in row]
        captions += [cell[1] for cell in row]
        wrong += [cell[2] for cell in row]
    return contact_sheet(images, captions, wrong, title=TITLE if found else "No images", columns=columns)


TITLE = "What speaks for a class, and the nearest training images"
Cell = tuple[Picture | None, tuple[str, str, str], bool]


def _own_cells(each: Explained) -> list[Cell]:
    is_wrong = each.actual is not None and each.actual != each.predicted
    best = f"{each.predicted} {each.probable[0][1]:.2f}" if each.predicted == each.probable[0][0] else each.predicted
    first = (each.name, f"true: {each.actual}" if each.actual is not None else "", f"predicted: {best}")
    second = ("what speaks for", each.explained, "")
    return [(each.image, first, is_wrong), (each.drawn, second, False)]


def _near_cell(near: Near, each: Explained) -> Cell:
    return near.image, (f"cosine {near.similarity:.3f}", near.name, near.label), near.label != each.predicted


def make_page(found: Sequence[Explained], model: str) -> str:
    """Return the page as HTML."""
    return page("Why did it say that?", paragraph("Model: ", name_of(model)), paragraph(NOTE), *map(_section, found), by=COMMAND)


def _section(each: Explained) -> Html:
    classes = [join(", " if place else None, name_of(name), f" {value:.4f}") for place, (name, value) in enumerate(each.probable)]
    pictures = [join(image(png(each.image), each.name), "what the network sees")]
    if each.drawn is not None:
        pictures.append(join(image(png(each.drawn), "heat"), "what speaks for ", name_of(each.explained)))
    near = [
        join(
            image(png(other.image), other.name),
            element("b", name_of(other.label), class_=None if other.label == each.predicted else "bad"),
            f" {other.similarity:.3f}",
            element("br"),
            name_of(other.name),
        )
        for other in each.near
    ]
    return element(
        "section",
        element("h2", name_of(each.name)),
        paragraph("true: ", element("b", name_of(each.actual))) if each.actual is not None else None,
        paragraph("predicted: ", element("b", name_of(each.predicted))),
        paragraph("most probable: ", *classes),
        listed(pictures, class_="images"),
        element("h3", "Nearest training images") if near else None,
        listed(near, class_="images") if near else None,
    )
