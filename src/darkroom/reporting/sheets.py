"""Sheets of images with captions, drawn with Pillow. N images of H by W pixels in C channels, K classes."""

import importlib.util
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from darkroom.base import files

SIDE = 96  # pixels of an image: a whole multiple of 8, 32 and 96
FRAME = 3  # pixels
GAP = 8  # pixels between cells
GROUP_GAP = 20  # more pixels between groups of cells
FONT_SIZE = 12  # pixels
TITLE_SIZE = 15  # pixels
TITLE_HEIGHT = 26  # pixels of a line of the title
LINE = 16  # pixels from one line of a caption to the next
CAPTION_WIDTH = 144  # pixels, as wide as "predicted: airplane 0.93"
CELL_WIDTH = CAPTION_WIDTH + GAP
FEWEST_COLUMNS = 4  # of a sheet, so that there is room for its title

WHITE, GREY, INK, RED = "#ffffff", "#e5e7eb", "#1b2330", "#dc2626"


def contact_sheet(
    images: Sequence[NDArray[np.uint8] | None],
    captions: Sequence[tuple[str, ...]],
    wrong: Sequence[bool],
    *,
    title: str = "",
    columns: int = 8,
    group: int = 1,
) -> Image.Image:
    """Draw a title and a grid of images, each with lines of text under it; wrong ones get a red frame.

    Parameters
    ----------
    images : N arrays (H, W, C) uint8, or None
        C is 1 (grey) or 3 (red, green, blue); sizes may differ. None leaves its cell empty.
    captions
        Lines of text for every image, the same number for each. A long line is cut in its middle; a letter that the font lacks is
        written as its number in Unicode.
    wrong
        Whether something is wrong with each image, such as its prediction or label.
    title
        What the sheet shows.
    columns
        Images in a row, if there are as many.
    group
        Number of cells in a group; there is a gap between groups.

    Returns
    -------
    sheet
        The same content gives the same bytes.
    """
    columns = min(columns, max(FEWEST_COLUMNS, -(-len(images) // group) * group))
    rows = -(-len(images) // columns)
    num_lines = max(map(len, captions), default=2)
    cell_height = SIDE + 2 * FRAME + num_lines * LINE + GAP
    group_gap = GROUP_GAP if 1 < group < columns else 0
    width = GAP + columns * CELL_WIDTH + (columns - 1) // group * group_gap
    heading = _lines_of(title, _font(TITLE_SIZE, bold=True), width - 2 * GAP)
    above = GAP + len(heading) * TITLE_HEIGHT
    sheet = Image.new("RGB", (width, above + rows * cell_height), WHITE)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(heading):
        baseline = GAP + (number + 1) * TITLE_HEIGHT - 10
        draw.text((GAP, baseline), line, fill=INK, font=_font(TITLE_SIZE, bold=True), anchor="ls")
    for place, (image, caption, is_wrong) in enumerate(zip(images, captions, wrong, strict=True)):
        if image is None:
            continue
        row, column = divmod(place, columns)
        left, top = GAP + column * CELL_WIDTH + column // group * group_gap, above + row * cell_height
        _draw_image(sheet, image, (left, top), RED if is_wrong else GREY)
        for number, line in enumerate(caption):
            baseline = top + SIDE + 2 * FRAME + (number + 1) * LINE - 3
            colour = RED if is_wrong and number == num_lines - 1 else INK
            draw.text((left, baseline), _drawable(line, _font(), CAPTION_WIDTH), fill=colour, font=_font(), anchor="ls")
    return sheet


def save_sheet(out: Path, sheet: Image.Image, by: str) -> None:
    """Write a sheet as PNG, with the command that writes it, by which it knows the file, and replaces no other."""
    info = PngInfo()
    info.add_text("Software", by)
    with files.replaced_file(out) as temporary:
        sheet.save(temporary, "PNG", pnginfo=info)


def augmentation_sheet(views: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> Image.Image:
    """Draw a row for each of N images: the original, and how it is augmented in each epoch.

    Parameters
    ----------
    views : arrays (N, H, W, C) uint8
        The originals, then those of each epoch.
    names
        Class names of the N images.
    """
    when = ["original", *(f"epoch {epoch}" for epoch in range(1, len(views)))]
    images = [view[place] for place in range(len(names)) for view in views]
    captions = [(name, text) for name in names for text in when]
    title = f"{len(names)} training images, and how augmentation changes them"
    return contact_sheet(images, captions, [False] * len(images), title=title, columns=len(views))


def evenly_sampled(labels: NDArray[np.integer[Any]], count: int) -> NDArray[np.intp]:
    """Return at most `count` rows, sorted by class: the first of every class, then the second, and so on.

    If there are more classes than `count`, classes are taken at equal distances along the class list. An image of several
    classes counts as the first of them.
    """
    if labels.ndim == 2:
        labels = labels.argmax(axis=1)
    present = np.unique(labels)
    if len(present) > count:
        chosen = present[np.arange(count) * len(present) // count]
        return np.array([np.flatnonzero(labels == label)[0] for label in chosen])
    by_class = np.argsort(labels, kind="stable")
    place_in_class = np.arange(len(labels)) - np.searchsorted(labels[by_class], labels[by_class])
    taken = np.argsort(place_in_class, kind="stable")[:count]
    return by_class[np.sort(taken)]


def sampled_by_class(labels: NDArray[np.integer[Any]], num_classes: int, count: int) -> NDArray[np.int64]:
    """Return rows (n, m) of images spread over each of the n classes that are shown, -1 where a class has too few.

    There are 8, 4 or 2 images of every class, the most that keep the total within `count`; if there are too many classes, some
    are taken at equal distances along the class list.

    Parameters
    ----------
    labels : (N,) int64, or (N, K) uint8
        Labels of all images; an image of several classes may be shown for each of them.
    num_classes, count
        K, and the largest number of images.
    """
    each = next((each for each in (8, 4) if each * num_classes <= count), 2)
    num_shown = min(num_classes, count // each)
    sampled = np.full((num_shown, each), -1)
    for place, label in enumerate(np.arange(num_shown) * num_classes // num_shown):
        rows = np.flatnonzero(labels == label if labels.ndim == 1 else labels[:, label])
        few = min(each, len(rows))
        sampled[place, :few] = rows[np.arange(few) * len(rows) // max(1, few)]
    return sampled


def _draw_image(sheet: Image.Image, image: NDArray[np.uint8], corner: tuple[int, int], frame: str) -> None:
    """Draw a square with a frame, and the image in its middle."""
    left, top = corner
    outer = SIDE + 2 * FRAME
    ImageDraw.Draw(sheet).rectangle((left, top, left + outer - 1, top + outer - 1), fill=WHITE, outline=frame, width=FRAME)
    pil_image = _fitted(image)
    sheet.paste(pil_image, (left + (outer - pil_image.width) // 2, top + (outer - pil_image.height) // 2))


def _fitted(image: NDArray[np.uint8]) -> Image.Image:
    """Return the image as large as fits: small ones are enlarged by a whole factor, so that every pixel is a square."""
    pil_image = Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).convert("RGB")
    longer = max(pil_image.size)
    if longer <= SIDE:
        factor = SIDE // longer
        return pil_image.resize((pil_image.width * factor, pil_image.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(side * SIDE / longer)) for side in pil_image.size)
    return pil_image.resize((width, height), Image.Resampling.LANCZOS)


@cache
def _font(size: int = FONT_SIZE, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib: Latin, Greek, Cyrillic, Arabic and Hebrew letters.

    It is the same on every machine. The font inside Pillow has ASCII only. matplotlib itself is not imported.
    """
    found = importlib.util.find_spec("matplotlib")
    assert found is not None, "matplotlib is not installed"
    assert found.origin is not None, "matplotlib has no files"
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")
    # Not Raqm, which some builds of Pillow have: letters would stand elsewhere.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _has(character: str) -> bool:
    """Return whether the font has a character, that is, does not draw the box of those that it lacks."""
    # U+FFFF is no character in any font.
    return bytes(_font().getmask(character)) != bytes(_font().getmask("\uffff"))


def _printable(line: str) -> str:
    """Return a line in characters that the font has; others are written as in Python's strings."""
    line = unicodedata.normalize("NFC", line)
    return "".join(each if each.isprintable() and _has(each) else each.encode("unicode_escape").decode("ascii") for each in line)


def _lines_of(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Return the text in lines of at most `width` pixels, unless a word is wider."""
    lines: list[str] = []
    for word in _printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        lines[-1:] = [longer] if not lines or font.getlength(longer) <= width else [lines[-1], word]
    return lines


def _drawable(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return the line as the font can draw it, cut in its middle if it is wider than `width` pixels: its end may be a number."""
    line = _printable(line)
    shown, kept = line, len(line)
    while kept and font.getlength(shown) > width:
        kept -= 1
        shown = line[: kept - kept // 2] + "…" + line[len(line) - kept // 2 :]
    return shown
