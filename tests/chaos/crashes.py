"""The disk as a crash would have left it, from what tests/chaos/recorder.py has recorded.

After `kill -9` everything that was written is there. After a power cut only that is certain which was synced: the content of a file
whose descriptor was, and the names in a folder that was. Of the rest anything may be there: the content of a file in part, or none
of it, or zeros of the right length; of the changes of a folder those up to any moment, since file systems keep their order. What was
appended to a file is in doubt alone: what stood before it, and was synced, stays, unless the file was emptied.
"""

import base64
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chaos.workplace import Tree

Record = Sequence[Any]
KILLED, BARE, TORN = "killed", "bare", "torn"
"""All is there that was written; only what is certain; something in between."""


def points(records: Iterable[Record]) -> list[int]:
    """Return the numbers of the records after which a crash may come."""
    return [number for number, record in enumerate(records) if record[0] == "point"]


def told(records: Sequence[Record], end: int) -> list[Any]:
    """Return what had been promised before a crash."""
    return [record[1] for record in records[:end] if record[0] == "told"]


def durable(records: Sequence[Record], end: int, suffix: str) -> bool:
    """Return whether a file with this ending had its name in a folder that was synced."""
    names = {number for number in range(end) if records[number][0] in ("create", "move", "remove")}
    for number in range(points(records)[0], end):
        if records[number][0] == "sync":
            where = _names(records, {earlier for earlier in names if earlier < number})
            if any(folder == records[number][1] and name.endswith(suffix) for folder, name in where.values()):
                return True
    return False


def after_crash(records: Sequence[Record], end: int, kind: str, seed: int) -> Tree:
    """Return the files and folders that a crash leaves at a point; what was there at the first point is certain."""
    kept = _kept(records, points(records)[0], end, kind, random.Random(seed))
    where, contents = _names(records, kept), _contents(records, kept)
    if kind != KILLED:
        numbers = random.Random(seed + 1)
        for inode, number in _unsynced(records, end).items():
            if number not in kept:
                old, new = contents.get(inode, b""), base64.b64decode(records[number][2])
                certain = old if new.startswith(old) and not _emptied(records, inode, end) else b""
                contents[inode] = certain + _torn(old[len(certain) :], new[len(certain) :], kind, numbers)
    folders = {record[1] for record in records[:end] if record[0] == "create" and record[3]}
    tree: Tree = {}
    for inode in where:
        path = _path(inode, where)
        if path is not None:
            tree[f"{path}/" if inode in folders else str(path)] = b"" if inode in folders else contents.get(inode, b"")
    return tree


def _names(records: Sequence[Record], kept: set[int]) -> dict[int, tuple[int, str]]:
    """Return the folder and the name of each inode that has one."""
    where: dict[int, tuple[int, str]] = {}
    for number in sorted(kept):
        match records[number]:
            case ["create", inode, place, _]:
                where[inode] = tuple(place)
            case ["move", inode, _, place] if inode in where:  # and what had this name is gone
                where = {other: at for other, at in where.items() if at != tuple(place)} | {inode: tuple(place)}
            case ["remove", inode, place] if where.get(inode) == tuple(place):
                del where[inode]
    return where


def _contents(records: Sequence[Record], kept: set[int]) -> dict[int, bytes]:
    return {records[number][1]: base64.b64decode(records[number][2]) for number in sorted(kept) if records[number][0] == "data"}


def _torn(old: bytes, new: bytes, kind: str, numbers: random.Random) -> bytes:
    """Return what may stand in a file that was changed and not synced."""
    if kind == BARE:
        return old
    part = new[: numbers.randint(0, len(new))]
    return numbers.choice([old, new, part, part + bytes(len(new) - len(part)), bytes(len(new))])


def _unsynced(records: Sequence[Record], end: int) -> dict[int, int]:
    """Return the number of the last content of each file that was not synced."""
    found: dict[int, int] = {}
    for number, record in enumerate(records[:end]):
        if record[0] == "data":
            found[record[1]] = number
        elif record[0] == "sync":
            found.pop(record[1], None)
    return found


def _emptied(records: Sequence[Record], inode: int, end: int) -> bool:
    """Return whether a file was emptied since it was last synced."""
    found = False
    for record in records[:end]:
        if record[0] in ("emptied", "sync") and record[1] == inode:
            found = record[0] == "emptied"
    return found


def _kept(records: Sequence[Record], first: int, end: int, kind: str, numbers: random.Random) -> set[int]:
    """Return the numbers of the changes that are on the disk."""
    changes = {number for number in range(end) if records[number][0] in ("create", "move", "remove", "data")}
    if kind == KILLED:
        return changes
    kept, certain, synced = {number for number in changes if number < first}, set(), set()
    for number in range(end - 1, first - 1, -1):
        record = records[number]
        if record[0] == "sync":
            synced.add(record[1])
            certain.add(record[1])
        elif record[0] == "data" and record[1] in synced:
            kept.add(number)
        elif number in changes and record[0] != "data" and certain & set(_folders(record)):
            kept.add(number)
            certain |= set(_folders(record))
    if kind == BARE:
        return kept
    # Each folder up to a moment of its own; what was moved between two is in both or in neither.
    moments: dict[int, int] = defaultdict(lambda: numbers.randint(first, end))
    for number in sorted(changes - kept):
        if records[number][0] != "data":
            if all(number <= moments[folder] for folder in _folders(records[number])):
                kept.add(number)
            else:
                moments.update(dict.fromkeys(_folders(records[number]), first))
    return kept


def _folders(record: Record) -> list[int]:
    return [place[0] for place in record[2:] if isinstance(place, (list, tuple))]


def _path(inode: int, where: dict[int, tuple[int, str]]) -> Path | None:
    """Return the path of an inode, None where a folder above it has no name."""
    parts: list[str] = []
    while inode != 0:
        if inode not in where:
            return None
        inode, name = where[inode]
        parts.insert(0, name)
    return Path(*parts)
