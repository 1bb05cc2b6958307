"""Names of files as printable text."""

import os

from darkroom.data.listing import printable


def restored(text: str) -> bytes:
    """Undo `printable`, to show that nothing is lost."""
    return text.encode().decode("unicode_escape").encode("latin-1") if text.isascii() else text.encode()


def test_names_are_printable_and_can_be_restored() -> None:
    for name in (b"plain.jpg", b"a\nb", b"back\\slash", b"\\x0a", b"latin \xe9", b"\x85", b"\xc2\x85", b"tab\t", b"=cmd|x"):
        text = printable(os.fsdecode(name))
        assert text.isprintable()
        assert restored(text) == name


def test_printable_text_stays() -> None:
    assert printable("тюльпан 花 é/1.jpg") == "тюльпан 花 é/1.jpg"


def test_different_names_stay_different() -> None:
    names = [
        b"a\nb",
        b"a\\nb",
        b"a\\x0ab",
        b"a\\\\x0ab",
        b"a\xc2\x85",
        b"a\x85",
        b"a\xc2",
        "a\u202eb".encode(),
        b"a\xe2\x80\xaeb",
    ]
    assert len({printable(os.fsdecode(name)) for name in names}) == len(set(names))
