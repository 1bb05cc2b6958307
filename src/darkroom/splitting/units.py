"""What is never divided between splits or folds: groups of the source, and sets of duplicates."""

import re

import numpy as np

from darkroom.base.errors import InputError
from darkroom.data.pack import Pack, Rows
from darkroom.splitting.duplicates import connected


def group_names(pack: Pack, pattern: str | None) -> list[str | None]:
    """Return the group of each row, from `split.group_pattern` or else from the source."""
    if pattern is None:
        return pack.groups
    found = [re.search(pattern, name) for name in pack.ids]
    missing = next((name for name, match in zip(pack.ids, found, strict=True) if not match), None)
    if missing is not None:
        raise InputError(
            f"params.yaml: split.group_pattern: {pattern} does not match '{missing}'; write one that matches every id"
        )
    return [match and match[1] for match in found]


def group_numbers(names: list[str | None]) -> Rows | None:
    """Return the number of each row's group, a number of its own for a row without one; None if there are no groups."""
    if all(name is None for name in names):
        return None
    # Keys of two types, so that a name never equals a row.
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(row if name is None else name, len(numbers)) for row, name in enumerate(names)])


def units_of(rows: Rows, sets: Rows, groups: Rows | None) -> Rows:
    """Return the number (N,) of the unit that each row belongs to: sets and groups that share images are one unit.

    A unit is never split. Other images than those of `rows` are not joined by their group.
    """
    if groups is None:
        return sets
    pairs = []
    for numbers in (sets, groups):
        _, firsts, inverse = np.unique(numbers[rows], return_index=True, return_inverse=True)
        pairs.append(np.stack([rows[firsts[inverse]], rows], axis=1))
    return connected(len(sets), np.concatenate(pairs))
