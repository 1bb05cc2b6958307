"""How long trainings took, from this machine's logs: no result records it, since equal inputs give equal results.

A training writes to `logs/<start>_<name>`, where the name is that of its experiment, or the beginning of `state` in its
models/run.json. Its machine.csv has a line every three seconds (`hardware.watch`).
"""

import re
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path

FOLDER = re.compile(r"(?P<start>\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)_(?P<name>.+)")
FORMAT = "%Y-%m-%d_%H-%M-%S"
# Between two lines of machine.csv; after a longer time the training was interrupted.
MAX_GAP_SECONDS = 60.0
# Of a larger table only the first and the last line are read: it is of days.
MAX_BYTES = 1_000_000
STATE_DIGITS = 8


class Durations:
    """The trainings in a folder of logs.

    Parameters
    ----------
    logs
        The folder; it may be missing.
    """

    def __init__(self, logs: Path):
        self._folders: dict[str, list[tuple[datetime, Path]]] = {}
        for path in sorted(logs.iterdir()) if logs.is_dir() else []:
            match = FOLDER.fullmatch(path.name)
            if match and path.is_dir():
                start = datetime.strptime(match["start"], FORMAT)
                self._folders.setdefault(match["name"], []).append((start, path))

    def minutes(self, names: list[str], before: float | None) -> float | None:
        """Return how long a training took; None if this machine has no log of it.

        Parameters
        ----------
        names
            Its experiment, or the state of its run.json; of several the first that has a log counts.
        before
            When its result was recorded, in seconds since 1970: of several trainings of that name the last one before.
        """
        for name in names:
            begun = self._folders.get(name, [])
            if before is not None:
                begun = [(start, path) for start, path in begun if start.timestamp() <= before + 1]
            if begun:
                seconds = _seconds(*begun[-1])
                return None if seconds is None else seconds / 60
        return None


def _seconds(start: datetime, folder: Path) -> float | None:
    """Return how long a training ran, without the time between an interruption and its resume."""
    try:
        with (folder / "machine.csv").open("rb") as file:
            data = file.read(MAX_BYTES)
            if len(data) == MAX_BYTES:
                file.seek(-1000, 2)
                return (_times(file.read())[-1] - start).total_seconds()
        times = [start, *_times(data)]
    except (OSError, ValueError, IndexError):
        return None
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    return sum(gap for gap in gaps if 0 < gap <= MAX_GAP_SECONDS) if gaps else None


def _times(table: bytes) -> list[datetime]:
    """Return the first column of a table, without its header and lines that are cut off."""
    times = []
    for line in table.splitlines()[1:]:
        with suppress(ValueError):
            times.append(datetime.fromisoformat(line[:19].decode()))
    return times
