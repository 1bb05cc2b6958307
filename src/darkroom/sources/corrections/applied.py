"""Applying the table of corrections to the images of a source; its files stay as they are."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from darkroom.base.errors import InputError, listed, nearest
from darkroom.data.labels import SEPARATOR, Labels, clean_name, count_labels, indices, is_multilabel, multi_hot
from darkroom.data.listing import Item
from darkroom.sources.corrections.table import REMOVE, Correction, Corrections, cell_of

# Of the changes that download prints.
SHOWN = 10


class Applied:
    """Corrections of the images of a source: `kept` before they are read, `relabel` afterwards.

    Parameters
    ----------
    corrections
        The table.
    items
        The images of the source.

    Attributes
    ----------
    record
        What dataset.json says, after `relabel`: `corrected` has id, given and label of each image whose label was changed,
        `removed` has ids. Neither the table's name nor rows without effect are in it, so that data/raw is the same without them.

    Raises
    ------
    InputError
        If a row is of an image that the source does not have.
    """

    def __init__(self, corrections: Corrections, items: Sequence[Item]):
        self.where = corrections.where
        self.record: dict[str, Any] = {}
        self._rows = dict(_found(corrections, items)) if corrections.rows else {}
        self._removed = sorted(name for name, row in self._rows.items() if row.label == REMOVE)

    def kept(self, items: Sequence[Item]) -> list[Item]:
        """Return the items that no row removes."""
        removed = set(self._removed)
        return [item for item in items if item.id not in removed]

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Say of an error of the source that images were left out, which may be the reason for it."""
        try:
            yield
        except InputError as error:
            if not self._removed:
                raise
            raise InputError(f"{self.where}: leaves out {len(self._removed)} image(s), and of the others: {error}") from None

    def relabel(self, labels: Labels, ids: Sequence[str], classes: Sequence[str]) -> Labels:
        """Return the labels of N images after the corrections, and set `record`.

        Parameters
        ----------
        labels : (N,) int64 or (N, K) uint8
            As the source has them.
        ids, classes
            N ids, K names.

        Raises
        ------
        InputError
            If a row names a class that the source does not have, says that the source gives another label than it does, or
            leaves no image of a class.
        """
        if self._removed and REMOVE in classes:
            raise InputError(
                f"{self.where}: '{REMOVE}' leaves an image out, but is a class of the source as well; rename it there"
            )
        given, new = indices(labels), indices(labels)
        corrected = []
        for number, name in enumerate(ids):
            row = self._rows.get(name)
            if row is None:
                continue
            new[number] = self._wanted(row, classes, is_multilabel(labels))
            if new[number] != given[number]:
                before, after = ([classes[label] for label in each[number]] for each in (given, new))
                self._check_given(row, before, is_multilabel(labels))
                corrected.append({"id": name, "given": SEPARATOR.join(before), "label": SEPARATOR.join(after)})
        if corrected or self._removed:
            self.record = {"corrected": corrected, "removed": self._removed}
        if not corrected:
            return labels
        if is_multilabel(labels):
            labels = multi_hot(new, len(classes))
        else:
            labels = labels.copy()
            labels[:] = [each[0] for each in new]
        counts = count_labels(labels, len(classes))
        if not counts.all():
            name = classes[int(counts.argmin())]
            raise InputError(f"{self.where}: leaves no image of class '{name}'; keep one, or remove the class from the source")
        return labels

    def _wanted(self, row: Correction, classes: Sequence[str], multilabel: bool) -> list[int]:
        """Return the labels that a row asks for, ascending."""
        known = {clean_name(cell): label for label, name in enumerate(classes) for cell in (name, cell_of(name))}
        said = list(_names(row.label, multilabel))
        if not said and not multilabel:
            raise InputError(
                f"{self.where}: row {row.number} ('{row.id}') has no label; write a class, or '{REMOVE}' to leave the image out"
            )
        for name in said:
            if name not in known:
                advice = nearest(name, [*classes, REMOVE], f"there are {listed(classes)}, and '{REMOVE}' to leave the image out")
                raise InputError(f"{self.where}: row {row.number} ('{row.id}'): the source has no class '{name}'; {advice}")
        return sorted({known[name] for name in said})

    def _check_given(self, row: Correction, before: Sequence[str], multilabel: bool) -> None:
        """Refuse a row that was written for another version of the source."""
        if row.given is None or (not row.given and not multilabel):
            return
        if set(_names(row.given, multilabel)) not in (
            {clean_name(each) for each in before},
            {clean_name(cell_of(each)) for each in before},
        ):
            raise InputError(
                f"{self.where}: row {row.number} ('{row.id}') was written for the label '{row.given}', but the source says "
                f"'{SEPARATOR.join(before)}'; look at the image again, and correct 'given' or remove the row"
            )


def _found(corrections: Corrections, items: Sequence[Item]) -> Iterator[tuple[str, Correction]]:
    """Yield the corrections with the ids of their images."""
    ids = {cell: item.id for item in items for cell in (cell_of(item.id), item.id)}
    for row in corrections.rows:
        if row.id not in ids:
            otherwise = "remove the row, or set download.corrections to the table of this source"
            raise InputError(
                f"{corrections.where}: row {row.number}: the source has no image '{row.id}'; {nearest(row.id, ids, otherwise)}"
            )
        yield ids[row.id], row


def _names(cell: str, multilabel: bool) -> Iterator[str]:
    parts = cell.split(SEPARATOR.strip()) if multilabel else [cell]
    return (name for part in parts if (name := clean_name(part)))


def lines(dataset: Mapping[str, Any]) -> Iterator[str]:
    """Yield what download prints of the corrections that dataset.json records."""
    corrected, removed = dataset.get("corrected", []), dataset.get("removed", [])
    told = [f"{each['id']}: {each['given'] or 'none'} -> {each['label'] or 'none'}" for each in corrected]
    told += [f"{name}: left out" for name in removed]
    if told:
        yield f"corrections: {len(corrected)} label(s) changed, {len(removed)} image(s) left out"
        yield from (f"  {line}" for line in told[:SHOWN])
    if len(told) > SHOWN:
        yield f"  ... and {len(told) - SHOWN} more, see data/raw/dataset.json"
