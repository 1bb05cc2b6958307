"""What a folder of parts holds already: which files, and of which run. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.batch.accuracy import Right

RUN = "_run.json"
FORMAT = 2


@dataclass(frozen=True)
class Part:
    """A part that is written."""

    images: int
    """Images that were listed, readable or not."""
    unreadable: int
    right: Right
    """How many of the labelled images are right."""
    sha256: dict[str, str]
    """Hash of each of its files, by name."""


def other_file(folder: Path) -> str | None:
    """Return the name of a file in a folder that holds no parts; None if it holds some, or nothing."""
    others = [each.name for each in folder.iterdir() if not each.name.startswith(files.WRITING)]
    return None if RUN in others else min(others, default=None)


def read_started(folder: Path, ending: str) -> tuple[dict[str, Any], list[Part]]:
    """Return what was recorded of the run in a folder, and its parts; nothing and none if it was not begun.

    Parameters
    ----------
    folder
        It need not exist.
    ending
        That parts are to have, such as `.csv`.

    Raises
    ------
    InputError
        If it holds other files, a record that is damaged, or parts of another format.
    """
    if not folder.is_dir():
        return {}, []
    if (other := other_file(folder)) is not None:
        raise InputError(f"{folder}: holds other files, such as {other}; name a new folder")
    path = folder / RUN
    if not path.exists():
        return {}, []
    try:
        found = files.read_sealed_json(path)
        if found["format"] != FORMAT:
            raise ValueError(f"its format is {found['format']}")
        done = [Part(**{**part, "right": Right(*part["right"])}) for part in found["parts"]]
        written = {Path(name).suffix for part in done for name in part.sha256 if name.startswith("part-")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is damaged ({error}); remove {folder}") from None
    if written - {ending}:
        before = min(written - {ending})[1:]
        raise InputError(
            f"{folder}: is of a run that differs in format (it was {before}, and is {ending[1:]}); repeat that command, or "
            "remove the folder"
        )
    return found, done
