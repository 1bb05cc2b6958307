"""Images become small enough for a page, and small ones stay as they are."""

import base64
import io
import re

import numpy as np
import pytest
from evaluated import png
from PIL import Image

from darkroom.pages.document import Html
from darkroom.pages.thumbnails import SIDE, sheet, thumbnail


def opened(made: Html | None) -> Image.Image:
    assert made is not None
    match = re.search(r'base64,([^"]+)"', made.markup)
    assert match is not None
    return Image.open(io.BytesIO(base64.b64decode(match[1])))


def test_a_small_image_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    made = thumbnail(written.getvalue(), "a")
    assert np.array_equal(np.asarray(opened(made)), pixels)
    assert made is not None
    assert 'class="pixels"' in made.markup


def test_a_large_image_becomes_small() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 900, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    made = thumbnail(written.getvalue(), "a")
    assert opened(made).size == (SIDE, round(SIDE * 2 / 3))
    assert made is not None
    assert len(made.markup) < 60_000


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"<svg onload=alert(1)>", png((1, 2, 3))[:40], b"GIF89a" + b"0" * 50])
def test_what_is_no_image_is_left_out(content: bytes) -> None:
    assert thumbnail(content, "a") is None
    assert sheet(content, "a") is None
