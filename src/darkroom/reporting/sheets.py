"""Sheets of sample pictures with captions, drawn with Pillow. N pictures of H by W pixels in C channels, K classes."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from darkroom.reporting.scores import Labels, is_right, predictions

SIDE = 96  # pixels of a picture: a whole multiple of 8, 32 and 96
FRAME = 3  # pixels
GAP = 8  # pixels between cells
FONT_SIZE = 12  # pixels
LINE = 15  # pixels from one line of a caption to the next
CELL_WIDTH = SIDE + 2 * FRAME + GAP
CELL_HEIGHT = SIDE + 2 * FRAME + 2 * LINE + GAP

WHITE, GREY, INK, RED = "#ffffff", "#e5e7eb", "#1f2937", "#dc2626"


def contact_sheet(
    pictures: Sequence[NDArray[np.uint8]],
    captions: Sequence[tuple[str, str]],
    wrong: Sequence[bool],
    *,
    columns: int = 8,
    empty: str = "no mistakes",
) -> Image.Image:
    """Draw pictures in rows of equal cells, each with two lines of text under it; wrong ones get a red frame.

    Parameters
    ----------
    pictures : N arrays (H, W, C) uint8
        C is 1 (grey) or 3 (red, green, blue); sizes may differ.
    captions
        Two lines for every picture; what is too long loses its middle, letters lose their accents.
    wrong
        Whether the model was wrong on each picture.
    columns
        Pictures in a row.
    empty
        What the sheet says when there is no picture.

    Returns
    -------
    sheet
        In at most 256 colours, so that saved as PNG it is small enough for Git; the same bytes for the same content.
    """
    rows = max(1, -(-len(pictures) // columns))
    sheet = Image.new("RGB", (GAP + columns * CELL_WIDTH, GAP + rows * CELL_HEIGHT), WHITE)
    draw = ImageDraw.Draw(sheet)
    font = _font()
    if not pictures:
        draw.text((sheet.width / 2, sheet.height / 2), empty, fill=INK, font=font, anchor="mm")
    for place, (picture, caption, is_wrong) in enumerate(zip(pictures, captions, wrong, strict=True)):
        row, column = divmod(place, columns)
        left, top = GAP + column * CELL_WIDTH, GAP + row * CELL_HEIGHT
        _draw_picture(sheet, picture, (left, top), RED if is_wrong else GREY)
        for number, line in enumerate(caption):
            baseline = top + SIDE + 2 * FRAME + (number + 1) * LINE - 2
            colour = RED if is_wrong and number == 1 else INK
            draw.text((left, baseline), _drawable(line, font, SIDE + 2 * FRAME), fill=colour, font=font, anchor="ls")
    return sheet.quantize(256, method=Image.Quantize.MEDIANCUT)


def most_confident_mistakes(probabilities: NDArray[np.float64], labels: Labels, count: int) -> NDArray[np.intp]:
    """Return at most `count` rows of probabilities (N, K) whose prediction is wrong, the most confident mistake first."""
    rows = np.flatnonzero(~is_right(probabilities, labels))
    if labels.ndim == 2:
        wrong = predictions(probabilities, labels) != labels
        confidence = np.where(wrong, np.maximum(probabilities, 1 - probabilities), 0).max(axis=1)
    else:
        confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence[rows], kind="stable")
    return rows[order[:count]]


def evenly_sampled(labels: Labels, count: int) -> NDArray[np.intp]:
    """Return at most `count` rows, sorted by class: the first of every class, then the second, and so on.

    If there are more classes than `count`, classes are taken at equal distances along the class list. A picture of several
    classes counts for the first of them.
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


def _draw_picture(sheet: Image.Image, picture: NDArray[np.uint8], corner: tuple[int, int], frame: str) -> None:
    """Paint a square with a frame, and the picture in the middle of it."""
    left, top = corner
    outer = SIDE + 2 * FRAME
    ImageDraw.Draw(sheet).rectangle((left, top, left + outer - 1, top + outer - 1), fill=WHITE, outline=frame, width=FRAME)
    image = _fitted(picture)
    sheet.paste(image, (left + (outer - image.width) // 2, top + (outer - image.height) // 2))


def _fitted(picture: NDArray[np.uint8]) -> Image.Image:
    """Return the picture as large as fits: small ones are enlarged in whole steps, so that every pixel stays a square."""
    image = Image.fromarray(picture.squeeze(axis=2) if picture.shape[2] == 1 else picture).convert("RGB")
    longer = max(image.size)
    if longer <= SIDE:
        factor = SIDE // longer
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    width, height = (max(1, round(side * SIDE / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _font() -> ImageFont.FreeTypeFont:
    # Pillow brings this font with it, so that sheets are the same on every machine; it knows the letters of ASCII only.
    font = ImageFont.load_default(FONT_SIZE)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _drawable(line: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return the line without accents and, where it is wider than so many pixels, without its middle: the end may be a number."""
    line = "".join(character for character in unicodedata.normalize("NFKD", line) if not unicodedata.combining(character))
    shown, kept = line, len(line)
    while kept and font.getlength(shown) > width:
        kept -= 1
        shown = line[: kept - kept // 2] + "…" + line[len(line) - kept // 2 :]
    return shown
