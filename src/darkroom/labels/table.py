"""The table that a person edits and `download.corrections` takes back: one row for each doubtful image."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.data.pack import Pack
from darkroom.labels.suspects import Suspect, Suspects
from darkroom.sources.corrections.table import GIVEN, ID, LABEL, REMOVE, cell_of, read_corrections

HEADER = (ID, GIVEN, "proposed", "confidence", LABEL, "note")
BEFORE = "corrected before"


def check_out(out: Path, pack: Pack) -> None:
    """Refuse a table that holds corrections which data/raw does not have, and one that cannot be read.

    That it is such a table at all is checked before (`darkroom.outputs`).

    Raises
    ------
    InputError
        Saying what to do first.
    """
    if out.suffix.lower() != ".csv":
        raise InputError(f"--out: {out} does not end with .csv; name such a file")
    if not out.exists():
        return
    try:
        rows = read_corrections(str(out.absolute())).rows
    except InputError as error:
        raise InputError(f"--out: {out} exists and is no table of corrections ({error}); name another file") from None
    labels = {name: pack.classes[label] for name, label in zip(pack.ids, pack.labels.tolist(), strict=True)}
    current = {key: cell for name, label in labels.items() for key, cell in ((name, label), (cell_of(name), label))}
    pending = [row for row in rows if row.label not in _cells(current.get(row.id, REMOVE))]
    if pending:
        raise InputError(
            f"--out: {out} has {len(pending)} correction(s) that data/raw does not have, such as of '{pending[0].id}'; "
            f"run 'dvc repro' with download.corrections set to it first, or name another file"
        )


def _cells(label: str) -> tuple[str, str]:
    return label, cell_of(label)


def accepts(suspect: Suspect, least: float | None) -> bool:
    """Return whether the table takes over the proposed class: from a confidence on, unless the label was corrected before."""
    return (
        least is not None and suspect.confidence >= least and suspect.proposed != suspect.label and suspect.label == suspect.given
    )


def write_table(out: Path, suspects: Suspects, dataset: Mapping[str, Any], accept: float | None) -> int:
    """Write the doubtful images, then the corrections in force of all others, and return how many proposals were taken over.

    The column `label` is taken back; it holds what the image has until somebody writes another class, so that an untouched row
    changes nothing.

    Parameters
    ----------
    out
        A .csv file.
    suspects
        The doubtful images.
    dataset
        Content of dataset.json.
    accept
        Confidence from which on `label` is the proposed class.
    """
    rows = [*_doubtful(suspects, accept), *_before(suspects, dataset)]
    # With a byte order mark, without which Excel takes accents for two characters each.
    with files.replaced_file(out) as temporary, temporary.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows([cell_of(cell) for cell in row] for row in rows)
    return sum(accepts(each, accept) for each in suspects.found)


def _doubtful(suspects: Suspects, accept: float | None) -> Iterator[tuple[str, ...]]:
    for each in suspects.found:
        label = each.proposed if accepts(each, accept) else each.label
        yield each.id, each.given, each.proposed, f"{each.confidence:.4f}", label, each.note


def _before(suspects: Suspects, dataset: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the corrections in force, so that the new table can take the place of the old one."""
    found = {each.id for each in suspects.found}
    for each in dataset.get("corrected", []):
        if each["id"] not in found:
            yield each["id"], each["given"], "", "", each["label"], BEFORE
    for name in dataset.get("removed", []):
        yield name, "", "", "", REMOVE, BEFORE
