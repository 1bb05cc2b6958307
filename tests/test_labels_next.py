"""Photos without labels, as a person has them: asked for, filled in, trained on, asked for again."""

import csv
from pathlib import Path

import pytest
from clones import make_clone
from labels_fixtures import colour_of, make_photo

from darkroom.data.pack import Pack


@pytest.mark.slow
@pytest.mark.thorough
def test_a_table_that_was_filled_in_is_trained_on(tmp_path: Path) -> None:
    """With the installed network, through all stages; one row is left empty."""
    clone, photos = make_clone(tmp_path / "darkroom"), tmp_path / "photos"
    for number in range(36):
        make_photo(photos / f"p{number:02}.png", colour_of(f"p{number}.png"), number)
    table = photos / "labels.csv"
    clone.run(f"./darkroom labels next {photos} --count 30 --without-raw")
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[1:]:
        row["label"] = colour_of(row["path"])
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    settings = f"download.source=manifest download.folder={photos} download.manifest=labels.csv train.image_size=32"
    done = clone.run(f"dvc exp run {' '.join(f'-S {each}' for each in settings.split())}")
    assert "1 of 30 row(s) have no label yet and are left out" in done.stdout
    assert sorted(Pack.open(clone.path / "data/raw").ids) == sorted(row["path"] for row in rows[1:])
    assert 0 <= clone.metrics()["test"]["accuracy"] <= 1
    again = clone.run(f"./darkroom labels next {photos} --count 6")
    assert "labels next: 6 of 6 photos without a label" in again.stdout
    assert clone.run("git status --porcelain --untracked-files=all -- labels.png").stdout == ""
