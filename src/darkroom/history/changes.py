"""What a row changes: parameters that differ from those of HEAD, by short names; also other code or data."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from darkroom.base.errors import one_line
from darkroom.history.rows import Row
from darkroom.versions import parameters
from darkroom.versions.lock import LockedStage

MAX_CHARACTERS = 60
ELLIPSIS = "…"
TARGET = "_target_"
RAW = "data/raw"
TRAIN = "train."


def changed_params(row: Row, reference: Row) -> dict[str, Any]:
    """Return the parameters of a row that differ from those of the reference; keys that its version did not have are left out."""
    theirs = reference.params
    return {key: value for key, value in row.params.items() if key not in theirs or not _is_same(value, theirs[key])}


def _is_same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def changed_inputs(row: Row, reference: Row) -> list[str]:
    """Return `code` and `data` where a training ran with other source files, or other images with the same parameters."""
    ours, theirs = (each.stages.get("train", LockedStage()).deps for each in (row, reference))
    if not ours or not theirs:
        return []
    code, data = ({path: md5 for path, md5 in deps.items() if path.startswith("src/")} for deps in (ours, theirs))
    changed = ["code"] if code != data else []
    is_other_source = any(key.startswith("download.") for key in changed_params(row, reference))
    if RAW in ours and RAW in theirs and ours[RAW] != theirs[RAW] and not is_other_source:
        changed.append("data")
    return changed


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return for each dotted key its shortest end that no other key has, or none but keys of other sections than train.

    `_target_` stands for the key above it.
    """
    shown = {key: key.removesuffix(f".{TARGET}") for key in keys}
    names = set(shown.values())
    ends = Counter(end for name in names for end in _ends(name))
    of_train = Counter(end for name in names if name.startswith(TRAIN) for end in _ends(name))

    def is_clear(end: str, name: str) -> bool:
        return of_train[end] == 1 if name.startswith(TRAIN) else ends[end] == 1

    return {key: next((end for end in _ends(name) if is_clear(end, name)), name) for key, name in shown.items()}


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]


def value_text(key: str, value: Any) -> str:
    """Return the value of a parameter on one short line: numbers in four digits, of a `_target_` its last name."""
    if isinstance(value, float):
        return f"{value:.4g}"
    text = one_line(parameters.value_text(value))
    text = text.rpartition(".")[2] if key.endswith(TARGET) else text
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + ELLIPSIS


def changes_text(row: Row, reference: Row, names: Mapping[str, str]) -> str:
    """Return what a row changes: `lr=0.003  batch_size=128  code`."""
    parts = [f"{one_line(names[key])}={value_text(key, value)}" for key, value in changed_params(row, reference).items()]
    return "  ".join([*parts, *changed_inputs(row, reference)])
