"""What every source gives: a list of images that are read one by one, and the names that stand for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.data.images import Decoded, ImageArray

SPLITS = ("train", "val", "test")
Label = int | tuple[int, ...]
"""The class of an image, or in a multilabel set its classes, ascending."""
Sample = tuple[bytes | Decoded, Label]
Data = bytes | Path | ImageArray | Callable[[], bytes | ImageArray]


class Item(NamedTuple):
    """One image of a source, which `read` gives as an encoded file or decoded, with its label.

    `read` raises `ImageError` where the image cannot be used, and may be called from any thread, more than once.
    """

    id: str
    split: str
    read: Callable[[], Sample]
    group: str | None = None
    """Whose images must not be divided: a patient, a site, a burst."""
    extra: dict[str, str] | None = None
    """What else the source says of it, to be carried along."""


class Example(NamedTuple):
    """One image of a source of the user's own, see src/plugins/sources/README.md."""

    id: str
    """A name, which no other image of the source has."""
    data: Data
    """A path, the bytes of a file, (H, W) or (H, W, 3) uint8, or a function that returns bytes or pixels."""
    label: str | Sequence[str]
    """Name of its class; a list of names, which may be empty, in a multilabel set."""
    split: str = "train"
    """train, val or test."""
    group: str | None = None
    """Whose images must not be divided."""
    extra: dict[str, str] | None = None
    """What is to be carried along to the predictions."""


@dataclass(frozen=True)
class Listing:
    """The images of a source.

    Attributes
    ----------
    where
        What error messages call the source: a folder, an archive, a data set.
    items
        The images, in any order.
    name_classes
        Given the ascending labels that occur, returns their class names; raises `InputError` if a class has lost its images.
    info
        What `dataset.json` tells of the source: no secrets, no paths of this machine.
    ignored
        Ids of files that are no part of the set.
    multilabel
        Whether images have any number of classes.
    remote
        Whether reading one waits for a network, so that many are read at a time.
    """

    where: str
    items: Sequence[Item]
    name_classes: Callable[[Sequence[int]], list[str]]
    info: dict[str, Any]
    ignored: list[str] = field(default_factory=list)
    multilabel: bool = False
    remote: bool = False


def ordered_classes(names: set[str]) -> list[str]:
    """Return class names by code point; whole numbers by value, so that 10 comes after 9."""
    if all(name.isascii() and name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def printable(name: str) -> str:
    r"""Return a file name as printable text from which it can be restored.

    A backslash becomes `\\`; the bytes of what cannot be printed or is not UTF-8 (surrogate escapes) become `\xNN`. Different
    names stay different: bytes that are not UTF-8 never follow each other so that together they are.
    """
    return "".join(_printable_character(character) for character in name)


def _printable_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
