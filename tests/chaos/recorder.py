"""Records what a stage writes, so that the disk as a crash would have left it can be rebuilt (tests/chaos/crashes.py).

A hook is called before every rename, removal, creation and fsync that Python makes. It compares the folders below the root with
what they were at the call before, which also shows what libraries in C have written. Files and folders go by numbers of their own, since
file systems give the inode of what was removed to what is made next: a file that got that of a folder was rebuilt as a folder.
"""

import base64
import itertools
import json
import os
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

WATCHED = ("data", "metrics", "models", ".resume", "search")
EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "tempfile.mkstemp"}
TOLD = "darkroom.told"
"""An event of a test: its argument is kept in the record, as what had been promised at this point."""


class Known(NamedTuple):
    """A file or folder that has been seen."""

    number: int
    is_folder: bool


class Recorder:
    """Writes one JSON line for every change of a file or folder, every file that is emptied, every fsync, and every call of the hook.

    The last of these are the points.
    """

    def __init__(self, root: Path, log: int):
        self.root, self.log = root, os.fdopen(log, "w")
        self.lock, self.busy = threading.Lock(), False
        self.known: dict[int, Known] = {}
        """What has each inode now."""
        self.numbers = itertools.count(1)
        self.folders: dict[int, dict[str, int]] = {}
        """Numbers by name, of each folder by its number; 0 is the root."""
        self.paths: dict[int, Path] = {}
        self.marks: dict[int, tuple[int, int]] = {}
        """Size and time of modification of each file, by its number."""

    def begin(self) -> None:
        """Record this process from here on."""
        sync, top = os.fsync, self.root.stat().st_ino

        def fsync(descriptor: int) -> None:
            self.point()
            sync(descriptor)
            inode = os.fstat(descriptor).st_ino
            if inode == top or inode in self.known:
                self.write("sync", 0 if inode == top else self.known[inode].number)

        os.fsync = fsync
        self.point()
        sys.addaudithook(self.watch)

    def watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == TOLD:
            self.point()
            self.write("told", arguments[0])
        elif event in EVENTS and not self.busy and not (event == "open" and only_reads(arguments[2])):
            self.point()
            if event == "os.truncate" or (event == "open" and empties(arguments[2])):
                self.emptied(arguments[0])

    def emptied(self, place: Any) -> None:
        """Write that a file is made shorter, and so what was synced of it is no longer certain."""
        with suppress(OSError, TypeError, ValueError):
            inode = os.stat(place).st_ino  # noqa: PTH116 - it may be a descriptor
            if inode in self.known:
                self.write("emptied", self.known[inode].number)

    def point(self) -> None:
        """Write what has changed since the last call, and that this is a point at which a crash may come."""
        with self.lock:
            self.busy = True
            try:
                self.compare()
            finally:
                self.busy = False
        self.write("point")

    def compare(self) -> None:
        found: dict[Path, os.stat_result] = {}
        for name in WATCHED:
            visit(self.root / name, found)
        self.known = numbered(self.known, {each.st_ino: stat.S_ISDIR(each.st_mode) for each in found.values()}, self.numbers)
        before, self.folders, self.paths = self.folders, {0: {}}, {}
        for path, status in found.items():  # a folder comes before what is in it
            number, is_folder = self.known[status.st_ino]
            self.paths[number] = path
            above = 0 if path.parent not in found else self.known[found[path.parent].st_ino].number
            self.folders[above][str(path.relative_to(self.root)) if above == 0 else path.name] = number
            if is_folder:
                self.folders[number] = {}
        old, new = places(before), places(self.folders)
        for number in old.keys() & new.keys():
            if new[number] != old[number]:
                self.write("move", number, old[number], new[number])
        for number in old.keys() - new.keys():
            self.write("remove", number, old[number])
            self.marks.pop(number, None)
        for number in new.keys() - old.keys():
            self.write("create", number, new[number], number in self.folders)
        for number, path in self.paths.items():
            if number not in self.folders:
                self.look(number, path)

    def look(self, number: int, path: Path) -> None:
        try:
            status = path.stat()
            mark = (status.st_size, status.st_mtime_ns)
            if self.marks.get(number) != mark:
                self.marks[number] = mark
                self.write("data", number, base64.b64encode(path.read_bytes()).decode())
        except FileNotFoundError:  # another thread has removed it
            return

    def write(self, *record: Any) -> None:
        self.log.write(json.dumps(record) + "\n")
        self.log.flush()


def only_reads(flags: Any) -> bool:
    return isinstance(flags, int) and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)


def empties(flags: Any) -> bool:
    return isinstance(flags, int) and bool(flags & os.O_TRUNC)


def visit(path: Path, found: dict[Path, os.stat_result]) -> None:
    """Add a file or folder, then all that is in it; links are left out, and what another thread has removed by now."""
    with suppress(FileNotFoundError):
        status = path.lstat()
        if not stat.S_ISLNK(status.st_mode):
            found[path] = status
        if stat.S_ISDIR(status.st_mode):
            for inner in path.iterdir():
                visit(inner, found)


def numbered(known: Mapping[int, Known], found: Mapping[int, bool], numbers: Iterator[int]) -> dict[int, Known]:
    """Return what has each inode that was found, folder or file: as it was known, else with the next number."""
    return {
        inode: known[inode] if inode in known and known[inode].is_folder == is_folder else Known(next(numbers), is_folder)
        for inode, is_folder in found.items()
    }


def places(folders: dict[int, dict[str, int]]) -> dict[int, tuple[int, str]]:
    """Return the folder and the name of each number."""
    return {number: (folder, name) for folder, names in folders.items() for name, number in names.items()}
