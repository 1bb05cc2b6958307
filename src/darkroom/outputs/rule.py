"""The rule on what a command may write: no input, nothing among the outputs of stages, and no file that it did not write."""

import glob
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.nested import outputs_of, read_stages
from darkroom.outputs.marks import FOLDERS, wrote

STDOUT = "-"
# The only image that a command writes: in a folder of photos it would be taken for one of them.
PICTURE = ".png"


@dataclass(frozen=True)
class Output:
    """An option that names what a command writes.

    Attributes
    ----------
    flag
        The option.
    other
        Of a folder: returns the name of something in it that the command did not write and would replace or remove, None if
        there is nothing. None: it is a file.
    may_be_file
        Whether it names a folder only if it ends with `/` or is one.
    """

    flag: str
    other: Callable[[Path], str | None] | None = None
    may_be_file: bool = False

    def is_folder(self, named: str | Path) -> bool:
        """Return whether a folder is meant."""
        return self.other is not None and (not self.may_be_file or str(named).endswith("/") or Path(named).is_dir())


def check_outputs(command: str, outputs: Mapping[str, Output], chosen: Namespace) -> None:
    """Refuse what must not be written, before anything is computed.

    Parameters
    ----------
    command
        As it is called: `./darkroom predict`.
    outputs
        Its options that name outputs, by their names in `chosen`.
    chosen
        Values of all its arguments; all others are taken for inputs.

    Raises
    ------
    InputError
        Naming the option and the file.
    """
    named = {name: value for name, value in vars(chosen).items() if name in outputs and value not in (None, STDOUT)}
    inputs = list(_texts([value for name, value in vars(chosen).items() if name not in outputs]))
    for number, (name, value) in enumerate(named.items()):
        output, path = outputs[name], Path(value)
        check_place(path, output.flag, command)
        if not output.is_folder(value):
            _check_no_folder(path, output.flag)
        check_no_input(path, output.flag, inputs)
        for before in list(named)[:number]:
            if path.absolute() == Path(named[before]).absolute():
                raise InputError(f"{output.flag}: {path} is that of {outputs[before].flag} as well; name another file")
        if output.is_folder(value):
            check_folder(path, output.flag, command, output.other)
        else:
            check_file(path, output.flag, command)


def check_file(path: Path, option: str, command: str, columns: str | None = None) -> None:
    """Refuse a file that cannot be written, or that the command did not write; an empty one has nothing to lose.

    `columns`: see `wrote`.
    """
    _check_no_folder(path, option)
    _check_parent(path, option)
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{option}: {path} is no regular file; name a file")
    if path.stat().st_size and not wrote(command, path, columns):
        raise InputError(f"{option}: {path} exists and was not written by {command}; name another file, or remove it")


def check_folder(path: Path, option: str, command: str, other: Callable[[Path], str | None] | None) -> None:
    """Refuse a folder that cannot be made, or holds what the command did not write and would replace; see `Output.other`."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{option}: {path} is a file; name a folder")
    _check_parent(path, option)
    if path.is_dir() and other is not None and (found := other(path)) is not None:
        raise InputError(f"{option}: {path} holds {found}, which was not written by {command}; name another folder, or move it")


def other_table(command: str, folder: Path) -> str | None:
    """Return the name of a table in a folder that a command would replace and did not write, see `FOLDERS`; None if none is."""
    tables = FOLDERS[command]
    there = [name for name in tables if (folder / name).exists()]
    return next((name for name in there if not wrote(command, folder / name, tables[name])), None)


def check_place(out: Path, option: str, command: str = "") -> None:
    """Refuse a place among the outputs of stages, which DVC removes, or records as what a stage made.

    models and metrics are theirs as a whole, but for metrics/speed, which `find speed` writes. In data people keep photos
    and tables of their own.

    Raises
    ------
    InputError
        Naming the folder.
    """
    place = out.resolve()
    if command == "./darkroom find speed" and place == paths.SPEED_METRICS.resolve():
        return
    folders = [paths.ROOT / out for stage in read_stages(paths.PIPELINE).values() for out in outputs_of(stage)]
    for folder in (*folders, paths.MODELS, paths.METRICS):
        if place.is_relative_to(folder.resolve()):
            raise InputError(f"{option}: {out} is in {paths.shown(folder)}, which stages write; name a file elsewhere")


def check_no_input(path: Path, option: str, inputs: Sequence[str]) -> None:
    """Refuse a path that is read as well: itself, as a list (`@list.txt`), by a pattern, or as an image in a folder."""
    for text in inputs:
        read = Path(text.removeprefix("@")).expanduser()
        if path.suffix.lower() == PICTURE and _is_inside(path, read):
            raise InputError(f"{option}: {path} is in {text}, where it would be taken for a photo; name a file elsewhere")
        if path.exists() and any(path.samefile(each) for each in _existing(text, read)):
            raise InputError(f"{option}: {path} is read as well, and would be lost; name another one")


def _check_no_folder(path: Path, option: str) -> None:
    if path.is_dir():
        raise InputError(f"{option}: {path} is a folder; name a file")


def _check_parent(path: Path, option: str) -> None:
    if not path.absolute().parent.is_dir():
        raise InputError(f"{option}: the folder {path.parent} does not exist; create it first")


def _is_inside(path: Path, read: Path) -> bool:
    """Return whether a file would be found in a folder that is read, or by a pattern."""
    if read.is_dir():
        return path.resolve().is_relative_to(read.resolve())
    return glob.has_magic(str(read)) and not read.exists() and path.absolute().match(str(read.absolute()))


def _existing(text: str, read: Path) -> Iterator[Path]:
    if read.exists():
        yield read
    elif glob.has_magic(text):
        yield from filter(Path.exists, map(Path, glob.iglob(str(read), recursive=True)))  # noqa: PTH207


def _texts(values: list[Any]) -> Iterator[str]:
    """Yield what could be a path among values of arguments."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _texts(list(value))
        elif isinstance(value, str | Path) and str(value) and "\0" not in str(value):
            yield str(value)
