"""Image files to predict: finding them in folders."""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from darkroom.base.errors import InputError, nearest_path, warn
from darkroom.data.images import EXTENSIONS, FORMATS
from darkroom.data.listing import junk_of, printable

# Bands may also come in arrays.
ARRAY = ".npy"
# Which Pillow does not always know.
BANDS = (".tif", ".tiff")
# Files that are named where some are left out.
NAMED = 10


class Places:
    """Where files are, whatever their paths look like: in a real folder, under a name.

    Two links to one file are two images, as they are in one folder.
    """

    def __init__(self) -> None:
        self._real = lru_cache(1024)(_real)

    def of(self, path: str) -> str:
        """Return what is equal for two paths of one file."""
        folder, name = os.path.split(path)
        return path if name in ("", "..") else f"{self._real(folder)}/{name}"


def _real(folder: str) -> str:
    try:
        return os.path.realpath(folder)
    except ValueError:  # a zero byte: no path, which is found missing when it is read
        return folder


def find_photos(chosen: Sequence[str | Path], beside: Sequence[Path] = ()) -> list[Path]:
    """Return the files named, and the images in the folders named and below, sorted by name within a folder, each once.

    In folders, files without an image's ending, links that lead nowhere or to folders, and what is no file are left out, which a
    warning says; hidden files, and those of `beside`, are left out without a word.

    Raises
    ------
    InputError
        If a path is empty or does not exist, is neither file nor folder, or a folder holds no image.
    """
    found: list[Path] = []
    # Path('') is the current folder: with an unset variable, `predict "$photo"` would predict whatever is in there.
    if "" in chosen:
        raise InputError("predict: one of the paths is empty; name an image or a folder")
    for path in map(Path, chosen):
        if path.is_dir():
            left_out: list[tuple[str, str]] = []
            inside = list(walk_images(path, left_out))
            left_out = [each for each in left_out if path / each[0] not in beside]
            if not inside:
                raise no_image(path, left_out)
            if left_out:
                warn(f"{path}: {described_files(left_out)} {'is' if len(left_out) == 1 else 'are'} left out")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            if path.exists():
                raise InputError(f"{path}: is no file or folder; name an image or a folder")
            raise InputError(f"{path}: does not exist; {nearest_path(str(path), 'name an image or a folder')}")
    places, once = Places(), dict[str, Path]()
    if again := [path for path in found if once.setdefault(places.of(str(path)), path) is not path]:
        more = f" (and {len(again) - 1} more)" if len(again) > 1 else ""
        warn(f"{printable(str(again[0]))}: is named more than once{more}, and taken once")
    return list(once.values())


def check_any_image(named: Sequence[Path]) -> None:
    """Refuse files of which none is an image by its first bytes, before a model is loaded for them.

    If one is, the others are left to whoever reads them, and so are many files, and those that are missing.

    Raises
    ------
    InputError
        Naming the first.
    """
    if named and len(named) <= NAMED and all(map(_is_no_image, named)):
        raise InputError(f"{named[0]}: is not a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image; name an image or a folder")


def _is_no_image(path: Path) -> bool:
    if path.suffix.lower() in (*BANDS, ARRAY) or not path.is_file() or not path.stat().st_size:
        return False
    try:
        Image.open(path, formats=FORMATS).close()
    except UnidentifiedImageError:
        return True
    except Exception:
        return False
    return False


def described_files(left_out: list[tuple[str, str]]) -> str:
    """Return the number of files, and some of their names with the reasons."""
    named = ", ".join(f"'{printable(name)}' {reason}" for name, reason in sorted(left_out)[:NAMED])
    more = f", and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    return f"{len(left_out)} file{'' if len(left_out) == 1 else 's'} ({named}{more})"


def without_arrays(found: Sequence[Path], chosen: Sequence[str | Path]) -> list[Path]:
    """Leave out arrays in folders, which are no images for a model of grey or RGB."""
    named = {Path(path) for path in chosen}
    kept = [path for path in found if path.suffix.lower() != ARRAY or path in named]
    if not kept:
        raise no_image(Path(chosen[0]))
    if len(kept) < len(found):
        told = [(path.name, "is an array, but the model takes images") for path in found if path not in set(kept)]
        warn(f"predict: {described_files(told)} {'is' if len(told) == 1 else 'are'} left out")
    return kept


def no_image(folder: Path, left_out: list[tuple[str, str]] | None = None) -> InputError:
    """Return the error for a folder without an image."""
    held = f", only {described_files(left_out)}" if left_out else ""
    return InputError(f"{folder}: holds no image ({', '.join(EXTENSIONS)}){held}; name another folder")


def walk_images(folder: Path, left_out: list[tuple[str, str]], below: str = "") -> Iterator[Path]:
    """Yield the images in a folder and below in the order of their paths; append names and reasons of what is left out."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith(".") or junk_of(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk_images(Path(entry.path), left_out, f"{below}{entry.name}/")
        elif reason := _why_not(entry):
            left_out.append((below + entry.name, reason))
        else:
            yield Path(entry.path)


def _why_not(entry: os.DirEntry[str]) -> str | None:
    """Return why a file is left out; None if it is an image by its name."""
    if entry.is_dir():
        return "is a link to a folder"
    if not entry.is_file():
        return "is a broken link" if entry.is_symlink() else "is no regular file"
    ending = Path(entry.name).suffix
    if ending.lower() in (*EXTENSIONS, ARRAY):
        return None
    return f"is no image by its ending {ending}" if ending else "has no ending"
