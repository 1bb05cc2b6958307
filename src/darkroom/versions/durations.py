"""How long trainings took, from this machine's logs: no result records it, since equal inputs give equal results.

A training writes to `logs/<start>_<name>`, where the name is that of its experiment, or the beginning of `state` in its
models/run.json. Its machine.csv has a line every three seconds (`hardware.watch`).
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

FOLDER = re.compile(r"(?P<start>\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)_(?P<name>.+)")
FORMAT = "%Y-%m-%d_%H-%M-%S"
# Between two lines of machine.csv; after a longer time the training was interrupted.
MAX_GAP_SECONDS = 60.0
# Of a larger table only the first and the last line are read: it is of days.
MAX_BYTES = 1_000_000
STATE_DIGITS = 8


class Log(NamedTuple):
    """The log of a training."""

    name: str
    start: datetime
    folder: Path

    def seconds(self) -> float | None:
        """Return how long it ran, without the time between an interruption and its resume; None if that is not known."""
        try:
            with (self.folder / "machine.csv").open("rb") as file:
                data = file.read(MAX_BYTES)
                if len(data) == MAX_BYTES:
                    file.seek(-1000, 2)
                    return (_times(file.read())[-1] - self.start).total_seconds()
            times = [self.start, *_times(data)]
        except (OSError, ValueError, IndexError):
            return None
        gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
        return sum(gap for gap in gaps if 0 < gap <= MAX_GAP_SECONDS) if gaps else None


def logs_in(folder: Path) -> list[Log]:
    """Return the logs in a folder, which may be missing, the oldest first."""
    found = [(path, FOLDER.fullmatch(path.name)) for path in (sorted(folder.iterdir()) if folder.is_dir() else [])]
    return [
        Log(match["name"], datetime.strptime(match["start"], FORMAT), path) for path, match in found if match and path.is_dir()
    ]


def minutes_of(logs: Sequence[Log], names: Sequence[str], before: float | None) -> float | None:
    """Return how long a training took; None if none of the logs, the oldest first, is of it.

    Parameters
    ----------
    logs
        The logs of this machine.
    names
        Its experiment, or the state of its run.json; of several the first that has a log counts.
    before
        When its result was recorded, in seconds since 1970: of several trainings of that name the last one before.
    """
    for name in names:
        begun = [log for log in logs if log.name == name and (before is None or log.start.timestamp() <= before + 1)]
        if begun:
            seconds = begun[-1].seconds()
            return None if seconds is None else seconds / 60
    return None


def _times(table: bytes) -> list[datetime]:
    """Return the first column of a table, without its header and lines that are cut off."""
    times = []
    for line in table.splitlines()[1:]:
        with suppress(ValueError):
            times.append(datetime.fromisoformat(line[:19].decode()))
    return times
