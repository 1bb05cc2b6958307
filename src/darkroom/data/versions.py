"""How two versions of the data differ: pictures added, removed, replaced, renamed, relabelled, moved to another split."""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from darkroom import files
from darkroom.errors import InputError, one_line

WORKSPACE = "workspace"
RAW, SPLIT = "data/raw", "data/split"
KINDS = ("added", "removed", "replaced", "renamed", "relabelled", "moved")


@dataclass(frozen=True)
class Version:
    """The pictures of a revision.

    Attributes
    ----------
    classes : list of str
        Class names.
    pictures : dict of str to (bytes, str, str)
        By id: hash of the pixels, class (several are joined), and split, which is empty where nothing was divided yet.
    """

    classes: list[str]
    pictures: dict[str, tuple[bytes, str, str]]


class Change(NamedTuple):
    """What happened to a picture; one that was relabelled and moved has two."""

    kind: str
    id: str
    """Its id now, or before if it was removed."""
    before: str
    after: str


def read_version(root: Path, revision: str) -> Version:
    """Return the pictures of a Git revision, an experiment, or the workspace; of the files of pictures none is read.

    Raises
    ------
    InputError
        If there is no such revision, or its data is neither here nor in the cache.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    read = _Reader(root, revision)
    try:
        dataset = json.loads(read.bytes(f"{RAW}/dataset.json"))
        index = pq.read_table(pa.BufferReader(read.bytes(f"{RAW}/index.parquet")), columns=["id", "label", "pixel_hash"])
        classes: list[str] = dataset["classes"]
        columns = (index[name].to_pylist() for name in ("id", "pixel_hash", "label"))
        rows = list(zip(*columns, strict=True))
        places = read.splits() or [""] * len(rows)
        pictures = {
            name: (picture, _label_text(label, classes), place)
            for (name, picture, label), place in zip(rows, places, strict=True)
        }
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, pa.ArrowException) as error:
        raise InputError(f"{RAW}: is damaged in {revision} ({one_line(error)[:200]}); compare with another revision") from None
    return Version(classes, pictures)


def compare(old: Version, new: Version) -> Iterator[Change]:
    """Yield the changes from one version to the other, by kind and id.

    A picture is known by its id, and where that is gone by its pixels: then it was renamed, or relabelled if its class is
    another one, as by moving it from folder to folder.
    """
    pairs = {name: name for name in old.pictures.keys() & new.pictures.keys()}
    gone: dict[bytes, list[str]] = defaultdict(list)
    for name in sorted(old.pictures.keys() - pairs.keys(), reverse=True):
        gone[old.pictures[name][0]].append(name)
    found = []
    for name in sorted(new.pictures.keys() - pairs.keys()):
        if same := gone[new.pictures[name][0]]:
            pairs[name] = same.pop()
        else:
            found.append(Change("added", name, "", _shown(new.pictures[name])))
    found += [Change("removed", name, _shown(old.pictures[name]), "") for names in gone.values() for name in names]
    for name, before in pairs.items():
        found += _changes(name, before, old.pictures[before], new.pictures[name])
    return iter(sorted(found, key=lambda change: (KINDS.index(change.kind), change.id)))


def write_changes(path: Path, changes: list[Change]) -> None:
    """Write kind, id, before, after as CSV.

    Raises
    ------
    InputError
        If its folder does not exist.
    """
    if not path.parent.is_dir():
        raise InputError(f"--csv: the folder {path.parent} does not exist; create it first")
    with files.replaced_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Change._fields)
        writer.writerows(map(files.csv_text, change) for change in changes)


def _changes(name: str, before: str, old: tuple[bytes, str, str], new: tuple[bytes, str, str]) -> Iterator[Change]:
    if old[0] != new[0]:
        yield Change("replaced", name, "", "other pixels")
    if old[1] != new[1]:
        yield Change("relabelled", name, old[1], new[1])
    elif before != name:
        yield Change("renamed", name, before, name)
    if old[2] and new[2] and old[2] != new[2]:
        yield Change("moved", name, old[2], new[2])


def _shown(picture: tuple[bytes, str, str]) -> str:
    return ", ".join(part for part in picture[1:] if part)


def _label_text(label: Any, classes: list[str]) -> str:
    return classes[label] if isinstance(label, int) else "; ".join(classes[each] for each in label)


class _Reader:
    """Reads the small files of a revision: from the workspace, or through DVC from its cache."""

    def __init__(self, root: Path, revision: str):
        self.root, self.revision = root, revision
        self._files: Any = None
        if revision != WORKSPACE:
            self._files = _dvc_files(root, revision)

    def bytes(self, name: str) -> bytes:
        """Return the content of a file."""
        try:
            if self._files is None:
                return (self.root / name).read_bytes()
            content: bytes = self._files.read_bytes(name)
        except FileNotFoundError:
            way_out = f"run 'dvc fetch {name.rpartition('/')[0]}' there" if self._files else "run 'dvc repro'"
            raise InputError(f"{name}: is not there in {self.revision}, or not in the cache; {way_out}") from None
        return content

    def splits(self) -> list[str] | None:
        """Return the split of each picture; None if nothing was divided."""
        with suppress(InputError):
            text = self.bytes(f"{SPLIT}/manifest.csv").decode("utf-8")
            return [row["split"] for row in csv.DictReader(io.StringIO(text, newline=""))]
        return None


def _dvc_files(root: Path, revision: str) -> Any:
    # Imported here: it takes a second, and the workspace alone needs none of it.
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from scmrepo.exceptions import SCMError

    try:
        found = DVCFileSystem(str(root), rev=revision)
        found.info("/")  # it looks for the revision when it is first used
    except (DvcException, SCMError) as error:
        raise InputError(
            f"{revision}: is no revision or experiment here ({one_line(error)[:150]}); 'git log' and 'dvc exp show' list them"
        ) from None
    return found
