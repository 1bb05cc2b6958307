"""Results in parts, each written when it is whole, so that a killed run goes on where it was. No torch.

A folder holds `part-00000.parquet` and so on, `_unreadable-00000.csv` where images of a part could not be read, and `_run.json`:
what the numbers depend on, and the hash of each part. Names with an underscore are passed over by what reads such folders.
"""

import csv
import fcntl
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.batch.accuracy import Right
from darkroom.batch.joined_files import join_files
from darkroom.batch.started import FORMAT, RUN, Part, read_started
from darkroom.prediction.predictions import Predictions, write_predictions

# Images of a part, and numbers of it that are in memory at once.
IMAGES, VALUES = 4096, 2_000_000


@dataclass(frozen=True)
class Total:
    """Counts of all parts together."""

    images: int
    unreadable: int
    right: Right
    first_bad: tuple[str, str] | None = None

    @property
    def nothing_was_read(self) -> bool:
        """Whether there are images and none can be read."""
        return self.unreadable == self.images > 0


def images_of_part(batch_size: int, num_classes: int) -> int:
    """Return how many images a part has: whole batches, so that a part is computed in the same batches wherever a run begins."""
    return max(1, min(IMAGES, VALUES // max(1, num_classes)) // batch_size) * batch_size


class Parts:
    """The folder of the parts of one run; use it in a `with` statement, in which no other process writes there.

    Parameters
    ----------
    folder
        It is made, or holds parts of the same run.
    ending
        Of the files: .csv, .jsonl or .parquet.
    about
        What the numbers depend on; a run of anything else is refused.

    Attributes
    ----------
    done : list of Part
        The parts that are there.
    is_complete : bool
        Whether they are all.
    precision : str or None
        The precision that was chosen with the first images.

    Raises
    ------
    InputError
        If the folder belongs to another run, or holds other files.
    """

    def __init__(self, folder: Path, ending: str, about: dict[str, Any]):
        self.folder, self.ending, self.about = folder, ending, about
        self.done: list[Part] = []
        self.is_complete = False
        self.precision: str | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Lock the folder, and take over what is there."""
        files.make_folder(self.folder)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._take_over()
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, BlockingIOError):
                raise InputError(f"{self.folder}: another process writes there; wait for it, or name another place") from None
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Free the folder, and remove it if nothing was written."""
        assert self._lock is not None
        if not self.done and not self.is_complete:
            (self.folder / RUN).unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()
        os.close(self._lock)

    @property
    def total(self) -> Total:
        """Counts of all parts."""
        images, unreadable = (sum(getattr(part, name) for part in self.done) for name in ("images", "unreadable"))
        return Total(images, unreadable, Right.total(part.right for part in self.done), self._first_bad())

    def add(self, predictions: Predictions, bad: Sequence[tuple[str, str]], right: Right, top_k: int) -> None:
        """Write the next part."""
        written = [self._path(len(self.done))]
        write_predictions(written[0], predictions, top_k)
        if bad:
            written.append(self._unreadable(len(self.done)))
            write_unreadable(written[1], bad)
        hashes = {path.name: files.sha256(path) for path in written}
        self.done.append(Part(len(predictions.paths) + len(bad), len(bad), right, hashes))
        self._record()

    def finish(self) -> None:
        """Record that the parts are complete."""
        self.is_complete = True
        self._record()

    def join(self, out: Path) -> None:
        """Join the parts to one file, and what could not be read to another beside it; then `discard` them."""
        with files.replaced_file(out) as temporary:
            join_files([self._path(number) for number in range(len(self.done))], temporary, self.ending)
        unreadable = [self._unreadable(number) for number, part in enumerate(self.done) if part.unreadable]
        target = unreadable_beside(out)
        if unreadable:
            with files.replaced_file(target) as temporary:
                join_files(unreadable, temporary, ".csv")
        else:
            target.unlink(missing_ok=True)
        self.discard()

    def discard(self) -> None:
        """Remove the folder of the parts."""
        self.done, self.is_complete = [], False
        self._record()  # without parts, what a kill leaves of the folder is taken for a beginning
        shutil.rmtree(self.folder)

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}{self.ending}"

    def _unreadable(self, number: int) -> Path:
        return self.folder / f"_unreadable-{number:05d}.csv"

    def _first_bad(self) -> tuple[str, str] | None:
        for number, part in enumerate(self.done):
            if part.unreadable:
                with self._unreadable(number).open(encoding="utf-8", newline="") as file:
                    _, (name, reason), *_ = csv.reader(file)
                return name, reason
        return None

    def _record(self) -> None:
        content = {
            "format": FORMAT,
            "about": self.about,
            "precision": self.precision,
            "is_complete": self.is_complete,
            "parts": [asdict(part) for part in self.done],
        }
        files.write_sealed_json(self.folder / RUN, content)

    def _take_over(self) -> None:
        """Read which parts are there, after removing what a killed run left half written."""
        found, done = read_started(self.folder, self.ending)
        files.sweep(self.folder)
        if not found:
            self._record()
            return
        if done and (difference := first_difference(found["about"], self.about)):
            raise InputError(
                f"{self.folder}: is of a run that differs in {difference}; repeat that command, or remove the folder"
            )
        for name, sha256 in ((name, sha256) for part in done for name, sha256 in part.sha256.items()):
            if not (self.folder / name).is_file() or files.sha256(self.folder / name) != sha256:
                raise InputError(f"{self.folder / name}: is not what was written; remove {self.folder}, and predict again")
        self.done = done
        if done:
            self.precision, self.is_complete = found["precision"], found["is_complete"]
        else:
            self._record()


def first_difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Return what differs between two runs, with both values unless they are hashes; None if nothing does."""
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            return f"{name}: {first_difference(old, new)}"
        plain = name.removesuffix("_sha256")
        return plain if plain != name else f"{name} (it was {old}, and is {new})"
    return None


def unreadable_beside(out: Path) -> Path:
    """Return the file that lists what could not be read, beside a file of results."""
    return out.with_name(f"{out.stem}.unreadable.csv")


def parts_beside(out: Path) -> Path:
    """Return the folder of parts from which a file of results is joined."""
    return out.with_name(f"{out.name}.parts")


def write_unreadable(path: Path, bad: Sequence[tuple[str, str]]) -> None:
    """Write names and reasons as CSV."""
    with files.replaced_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "reason"])
        writer.writerows([files.csv_text(name), files.csv_text(reason)] for name, reason in bad)
