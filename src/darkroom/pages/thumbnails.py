"""Images made small enough for a page: thumbnails and sheets."""

import io
from functools import cache

from PIL import Image

from darkroom.pages.document import Html, figure, image

SIDE = 200  # pixels: a thumbnail is shown at about 160, on a phone at 140
SMALL = 64  # images up to this side are shown with their pixels as squares
MAX_SHEET = 1600  # pixels
MAX_PIXELS = 50_000_000
QUALITY = 82


def thumbnail(content: bytes, alt: str) -> Html | None:
    """Return an encoded image in the size in which it is shown; None if it cannot be read."""
    made = _smaller(content, SIDE)
    return None if made is None else image(made[0], alt, class_="pixels" if made[1] <= SMALL else None)


def sheet(content: bytes, alt: str) -> Html | None:
    """Return a sheet of images, as large as a page is wide; None if it cannot be read."""
    made = _smaller(content, MAX_SHEET)
    return None if made is None else figure(image(made[0], alt), class_="sheet")


@cache
def _smaller(content: bytes, side: int) -> tuple[bytes, int] | None:
    """Return the image with its longer side at most `side`, as the smaller one of PNG and WebP, and its longer side."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP")) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                return None
            shown = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError):  # of Pillow, on damaged files
        return None
    longer = max(shown.size)
    if longer > side:
        width, height = (max(1, round(each * side / longer)) for each in shown.size)
        shown = shown.resize((width, height), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    shown.save(written, "WEBP", quality=QUALITY, method=4)
    is_same = longer <= side and content.startswith(b"\x89PNG")
    # Small images keep every pixel as it is.
    keep = is_same and (longer <= SMALL or len(content) <= len(written.getvalue()))
    return (content if keep else written.getvalue()), min(longer, side)
