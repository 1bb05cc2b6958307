"""What was changed between two revisions: parameters, data, code."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from darkroom.base.errors import InputError
from darkroom.comparison.evaluated import Evaluated
from darkroom.repository.git import git, quoted
from darkroom.versions import differences
from darkroom.versions.datasets import RAW, SPLIT, read_dataset
from darkroom.versions.lock import outputs
from darkroom.versions.parameters import differing, value_text

# What decides results; pages, tests and examples do not.
CODE = ("src", "dvc.yaml", "requirements.txt", "pyproject.toml")
SAME = "the same"


@dataclass(frozen=True)
class ParameterChange:
    """A parameter with another value: its dotted key, and both values as text."""

    key: str
    first: str
    second: str


def parameter_changes(first: Evaluated, second: Evaluated) -> list[ParameterChange]:
    """Return the parameters that differ, in the order of the second params.yaml; whatever `hardware` says changes no result."""
    found = differing(first.params, second.params).items()
    return [ParameterChange(key, *map(value_text, values)) for key, values in found if not key.startswith("hardware.")]


@dataclass(frozen=True)
class DataChanges:
    """What `./darkroom compare data` says in short: `the same`, `differs` or `unknown`, and lines on it."""

    state: str
    lines: list[str]

    @property
    def is_same(self) -> bool:
        """Whether images, labels and splits are the same."""
        return self.state == SAME


def data_changes(first: Evaluated, second: Evaluated) -> DataChanges:
    """Compare the data of both; images, labels and splits are read only if their hashes differ."""
    hashes = [[outputs(each.lock).get(out) for out in (RAW, SPLIT)] for each in (first, second)]
    if hashes[0] == hashes[1] and all(hashes[0]):
        return DataChanges(SAME, [])
    try:
        found = differences.compare(read_dataset(first.revision), read_dataset(second.revision))
    except InputError as error:
        return DataChanges("unknown", [str(error)])
    counts = [f"{len(found.rows[kind])} {kind}" for kind in differences.KINDS if len(found.rows[kind])]
    classes = [(found.new_classes, "new"), (found.lost_classes, "gone")]
    counts += [f"{len(names)} classes {what}" for names, what in classes if names]
    counts += ["classes in another order"] if found.is_reordered else []
    lines = [f"moves between splits are unknown, since {' and '.join(found.without_split)}"] if found.without_split else []
    if not counts:
        return DataChanges("unknown" if lines else SAME, lines)
    all_of_them = f"all of them: ./darkroom compare data {quoted(first.name)} {quoted(second.name)}"
    return DataChanges("differs", [f"{len(found.before)} -> {len(found.after)} images: {', '.join(counts)}", all_of_them, *lines])


@dataclass(frozen=True)
class FileChange:
    """A file of the code: its path, and added and removed lines, None of what is new or no text."""

    path: str
    added: int | None
    removed: int | None

    @property
    def counts(self) -> str:
        """The lines that were added and removed, as text."""
        return "" if self.added is None else f"+{self.added} -{self.removed}"


def code_changes(root: Path, first: Evaluated, second: Evaluated) -> list[FileChange]:
    """Return the files of code that differ, as Git knows them, with new ones of the workspace."""
    sides = [each.revision.commit for each in (first, second)]
    if sides[0] == sides[1]:
        return []
    backwards = ["-R"] if sides[0] is None else []
    commits = [commit for commit in sides if commit]
    text = git(root, "diff", "--numstat", "-z", "--no-renames", "--relative", *backwards, *commits, "--", *CODE).stdout
    found = list(_numstat(text))
    if None in sides:
        new = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *CODE).stdout.split("\0")
        found += [FileChange(path, None, None) for path in filter(None, new)]
    return found


def _numstat(text: str) -> Iterator[FileChange]:
    for line in filter(None, text.split("\0")):
        added, removed, path = line.split("\t", 2)
        yield FileChange(path, *(int(number) if number.isdecimal() else None for number in (added, removed)))
