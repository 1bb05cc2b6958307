"""Records what a stage writes, so that the disk as a crash would have left it can be rebuilt (tests/chaos/crashes.py).

A hook is called before every rename, removal, creation and fsync that Python makes. It compares the folders below the root with
what they were at the call before, which also shows what libraries in C have written. Files and folders go by their inodes.
"""

import base64
import json
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

WATCHED = ("data", "metrics", "models", ".resume", "search")
EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "tempfile.mkstemp"}
TOLD = "darkroom.told"
"""An event of a test: its argument is kept in the record, as what had been promised at this point."""


class Recorder:
    """Writes one JSON line for every change of a file or folder, every file that is emptied, every fsync, and every call of the hook.

    The last of these are the points.
    """

    def __init__(self, root: Path, log: int):
        self.root, self.log = root, os.fdopen(log, "w")
        self.lock, self.busy = threading.Lock(), False
        self.folders: dict[int, dict[str, int]] = {}
        """Inodes by name, of each folder by its inode; 0 is the root."""
        self.paths: dict[int, Path] = {}
        self.marks: dict[int, tuple[int, int]] = {}
        """Size and time of modification of each file, by its inode."""

    def begin(self) -> None:
        """Record this process from here on."""
        sync, top = os.fsync, self.root.stat().st_ino

        def fsync(descriptor: int) -> None:
            self.point()
            sync(descriptor)
            inode = os.fstat(descriptor).st_ino
            self.write("sync", 0 if inode == top else inode)

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
            if inode in self.paths:
                self.write("emptied", inode)

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
        before, self.folders, self.paths = self.folders, {0: {}}, {}
        for name in WATCHED:
            if (self.root / name).is_dir():
                self.folders[0][name] = (self.root / name).stat().st_ino
                self.visit(self.root / name)
        old, new = places(before), places(self.folders)
        for inode in old.keys() & new.keys():
            if new[inode] != old[inode]:
                self.write("move", inode, old[inode], new[inode])
        for inode in old.keys() - new.keys():
            self.write("remove", inode, old[inode])
            self.marks.pop(inode, None)
        for inode in new.keys() - old.keys():
            self.write("create", inode, new[inode], inode in self.folders)
        for inode, path in self.paths.items():
            if inode not in self.folders:
                self.look(inode, path)

    def visit(self, folder: Path) -> None:
        names = self.folders[folder.stat().st_ino] = {}
        for entry in os.scandir(folder):
            if not entry.is_symlink():
                names[entry.name] = entry.inode()
                self.paths[entry.inode()] = Path(entry.path)
                if entry.is_dir():
                    self.visit(Path(entry.path))

    def look(self, inode: int, path: Path) -> None:
        try:
            status = path.stat()
            mark = (status.st_size, status.st_mtime_ns)
            if self.marks.get(inode) != mark:
                self.marks[inode] = mark
                self.write("data", inode, base64.b64encode(path.read_bytes()).decode())
        except FileNotFoundError:  # another thread has removed it
            return

    def write(self, *record: Any) -> None:
        self.log.write(json.dumps(record) + "\n")
        self.log.flush()


def only_reads(flags: Any) -> bool:
    return isinstance(flags, int) and not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)


def empties(flags: Any) -> bool:
    return isinstance(flags, int) and bool(flags & os.O_TRUNC)


def places(folders: dict[int, dict[str, int]]) -> dict[int, tuple[int, str]]:
    """Return the folder and the name of each inode."""
    return {inode: (folder, name) for folder, names in folders.items() for name, inode in names.items()}
