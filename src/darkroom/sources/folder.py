"""Classes, splits and images, from the names in a folder or an archive; no image is read."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError, warn
from darkroom.data.images import EXTENSIONS
from darkroom.data.labels import clean_name
from darkroom.data.listing import SPLITS, Item, Listing, Sample, junk_of, printable
from darkroom.sources.entries import Entry

LEVELS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


# Images behind a link are counted up to here: it may lead to a whole disk.
MOST_COUNTED = 10_000
Group = dict[tuple[str, str], list[Entry]]
"""Files by split and name of the class folder."""


def list_images(parts: Mapping[str, Iterable[Entry]], where: str, info: dict[str, Any]) -> Listing:
    """List the images of one or more folders or archives that form one set, with the classes and splits that folders name.

    Parameters
    ----------
    parts
        The entries of each folder or archive, by the prefix of its image ids; "" if there is only one.
    where
        Name of the set in error messages.
    info
        What dataset.json records of it.

    The folders at the top, or in a single folder at the top, are the classes, or are train, val and test with the same classes
    in each. Folders inside a class belong to it. Every file of a class counts as an image.

    Raises
    ------
    InputError
        If the layout is ambiguous or incomplete: fewer than two classes, an empty or hidden class, an image outside of all
        classes, a class that is missing in a split.
    """
    ignored: set[str] = set()
    groups = {}
    for prefix, entries in parts.items():
        place = f"{where}/{prefix.rstrip('/')}" if prefix else where
        found: set[str] = set()
        kept = _without_wrapper(list(_without_junk(entries, found)), place)
        _check_links(kept, place)
        levels = _find_levels(kept, place)
        groups[prefix] = _group(kept, levels, place, found), levels, place
        ignored.update(prefix + name for name in found)
    classes = _check_classes([group for group, _, _ in groups.values()], where)
    for group, levels, place in groups.values():
        _check_depth(group, 1 if levels else 0, place)
    labels = {name: label for label, name in enumerate(classes)}
    items = [
        Item(printable(prefix + entry.name), split, partial(_read_sample, entry.read, labels[_class_of(name)]))
        for prefix, (group, _, _) in groups.items()
        for (split, name), members in group.items()
        for entry in members
        if entry.read
    ]
    ids = sorted(printable(name) for name in ignored)
    return Listing(where, items, partial(name_all_classes, classes, where), info, ids)


def name_all_classes(classes: list[str], where: str, present: Sequence[int]) -> list[str]:
    """Return the names of all classes.

    Raises
    ------
    InputError
        If one of them is not among the labels present.
    """
    for label, name in enumerate(classes):
        if label not in present:
            raise InputError(f"{where}: no image of class '{name}' can be read; fix its images, or remove the class")
    return classes


def _without_junk(entries: Iterable[Entry], ignored: set[str]) -> Iterator[Entry]:
    """Leave out the files that operating systems add, such as .DS_Store."""
    for entry in entries:
        junk = junk_of(entry.name)
        if junk is None:
            yield entry
        else:
            ignored.add(junk)


def _without_wrapper(entries: list[Entry], where: str) -> list[Entry]:
    """Remove a single folder that holds everything else, as archives often have it."""
    tops = _tops(entries)
    (top,) = tops if len(tops) == 1 else (None,)
    if top is None or top.casefold() in LEVELS or top not in _holding_folders(entries):
        return entries
    for entry in entries:
        outside = not entry.name.startswith(f"{top}/")
        if entry.kind == "file" and (outside or entry.name.count("/") == 1) and _looks_like_image(entry.name):
            raise _stray(entry, where)
    return [entry._replace(name=entry.name.removeprefix(f"{top}/")) for entry in entries if entry.name != top]


def _find_levels(entries: list[Entry], where: str) -> dict[str, str]:
    """Return the split of each top folder if these are train, val and test, not classes of which one has such a name."""
    tops = _tops(entries)
    levels = {top: LEVELS[top.casefold()] for top in sorted(tops) if top.casefold() in LEVELS}
    if not levels or (tops - set(levels) and not _holding_folders(entries) & set(levels)):
        return {}
    for top in sorted(tops - set(levels)):
        raise InputError(f"{where}: '{printable(top)}' is beside '{next(iter(levels))}'; move it out of the set, or into a split")
    for split in SPLITS:
        names = [top for top, level in levels.items() if level == split]
        if len(names) > 1:
            raise InputError(f"{where}: '{names[0]}' and '{names[1]}' both name the split {split}; merge them")
    if "train" not in levels.values():
        raise InputError(f"{where}: has '{next(iter(levels))}' but no 'train'; add it, or move the classes to the top")
    return levels


def _group(entries: Iterable[Entry], levels: dict[str, str], where: str, ignored: set[str]) -> Group:
    """Return the files by split and class folder; a class folder without files has an empty list."""
    depth = 1 if levels else 0
    groups: Group = {}
    for entry in entries:
        parts = entry.parts
        folders = parts if entry.kind == "folder" else parts[:-1]
        if entry.kind == "link":
            warn(f"{where}: '{printable(entry.name)}' is a link to a folder and is ignored")
            ignored.add(entry.name)
        elif len(folders) > depth:
            hidden = next((place for place, part in enumerate(folders) if part.startswith(".")), None)
            if hidden == depth:
                name = printable("/".join(parts[: depth + 1]))
                raise InputError(f"{where}: '{name}' is a hidden folder among the classes; remove it")
            members = groups.setdefault((levels[parts[0]] if levels else "train", parts[depth]), [])
            if hidden is not None:
                ignored.add("/".join(parts[: hidden + 1]))
            elif entry.kind == "file":
                members.append(entry)
        elif entry.kind == "file":
            if _looks_like_image(entry.name):
                raise _stray(entry, where)
            ignored.add(entry.name)
    return groups


def _check_classes(parts: Sequence[Group], where: str) -> list[str]:
    """Return the class names, sorted by code point, after checking that every class has files in every split."""
    groups = {key for part in parts for key in part}
    for split, name in sorted(groups):
        if not any(part.get((split, name)) for part in parts):
            raise InputError(f"{where}: the folder of class '{printable(name)}' ({split}) is empty; add images, or remove it")
    classes = sorted({_class_of(name) for _, name in groups})
    if len(classes) < 2:
        found = f"only one class folder, '{classes[0]}'" if classes else "no class folders"
        raise InputError(f"{where}: holds {found}; put the images of at least two classes into a folder each")
    splits = {split: {_class_of(name) for other, name in groups if other == split} for split, _ in groups}
    for name in classes:
        lacking = sorted(split for split, names in splits.items() if name not in names)
        if lacking:
            having = min(split for split, names in splits.items() if name in names)
            raise InputError(
                f"{where}: class '{name}' is in {having} but not in {lacking[0]}; add images of it there, or remove it"
            )
    return classes


def _class_of(folder: str) -> str:
    """Return the name of the class of a folder: one for all spellings that look the same."""
    return printable(clean_name(folder)) or printable(folder)


def _check_links(entries: Iterable[Entry], where: str) -> None:
    """Refuse links to folders of images outside of the set: DVC does not see what changes behind them."""
    links = [entry for entry in entries if entry.target and not any(part.startswith(".") for part in entry.parts)]
    count = {entry.name: len(list(islice(_images_below(entry.target), MOST_COUNTED))) for entry in links if entry.target}
    holding = [name for name, images in count.items() if images]
    if holding:
        images = sum(count.values())
        raise InputError(
            f"{where}: {len(holding)} link(s) to folders elsewhere, such as '{printable(holding[0])}', hold "
            f"{'at least ' if MOST_COUNTED in count.values() else ''}{images} image(s), but DVC does not watch what is behind a "
            "link; put the folders themselves there, or set download.folder to the folder that holds them"
        )


def _images_below(folder: Path) -> Iterator[str]:
    return (name for _, _, names in os.walk(folder) for name in names if _looks_like_image(name))


def _check_depth(groups: Group, depth: int, where: str) -> None:
    """Refuse a layout whose classes may be one level deeper: the same folders in each class folder, and no image beside them."""
    inner = {
        (split, name): {entry.parts[depth + 1] if entry.name.count("/") > depth + 1 else "" for entry in members}
        for (split, name), members in groups.items()
    }
    first, *others = inner.values()
    if len(first) > 1 and "" not in first and all(other == first for other in others):
        a, b = sorted({name for _, name in groups})[:2]
        c, d = sorted(first)[:2]
        raise InputError(
            f"{where}: '{printable(a)}' and '{printable(b)}' hold the same folders, such as '{printable(c)}' and "
            f"'{printable(d)}', and no image, so it is unclear which are the classes; move the images of a class "
            "directly into its folder, or name the upper folders train, val and test"
        )


def _tops(entries: Iterable[Entry]) -> set[str]:
    return {entry.parts[0] for entry in entries if entry.kind == "folder" or "/" in entry.name}


def _holding_folders(entries: Iterable[Entry]) -> set[str]:
    """Return the top folders that contain folders."""
    return {entry.parts[0] for entry in entries if entry.name.count("/") + (entry.kind == "folder") >= 2}


def _looks_like_image(name: str) -> bool:
    return name.casefold().endswith(EXTENSIONS)


def _stray(entry: Entry, where: str) -> InputError:
    return InputError(
        f"{where}: the image '{printable(entry.name)}' is outside of all class folders; move it into one, or remove it"
    )


def _read_sample(read: Callable[[], bytes], label: int) -> Sample:
    return read(), label
