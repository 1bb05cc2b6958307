"""`python src/compare.py data REV REV` in a clone whose pictures change from commit to commit."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from clones import Clone, make_clone
from PIL import Image

from darkroom.data.versions import Version, compare

pytestmark = pytest.mark.slow


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Two commits of data; in the second each kind of change happened once."""
    made = make_clone(tmp_path_factory.mktemp("compare") / "darkroom")
    made.edit({"source: digits": "source: folder", "method: stratified": "method: stable"})
    photos = made.path / "data" / "photos"
    for number in range(200):
        picture(photos / "ab"[number % 2] / f"{number:03d}.png", number)
    made.run("dvc repro split && git add -A && git commit -qm before && git tag before")
    picture(photos / "a" / "new.png", 1000)
    (photos / "a" / "000.png").unlink()
    picture(photos / "a" / "002.png", 1002)
    shutil.move(photos / "a" / "004.png", photos / "a" / "004b.png")
    shutil.move(photos / "a" / "006.png", photos / "b" / "006.png")
    made.run("dvc repro split && git add -A && git commit -qm after")
    return made


def test_every_kind_of_change_is_told(clone: Clone, tmp_path: Path) -> None:
    told = clone.run(f"python src/compare.py data before HEAD --csv {tmp_path}/changes.csv").stdout.splitlines()
    lines = [line.split() for line in told[:-1]]
    # A picture of other pixels may have got another place.
    kinds = [line for line in lines if line[0] != "moved"]
    assert [(line[0], line[1]) for line in kinds] == [
        ("added", "a/new.png"),
        ("removed", "a/000.png"),
        ("replaced", "a/002.png"),
        ("renamed", "a/004b.png"),
        ("relabelled", "b/006.png"),
    ]
    assert kinds[3][2:] == ["a/004.png", "->", "a/004b.png"]
    assert kinds[4][2:] == ["a", "->", "b"]
    assert told[-1].startswith(
        "data: 200 pictures in before, 200 in HEAD: 1 added, 1 removed, 1 replaced, 1 renamed, 1 relabelled"
    )
    with (tmp_path / "changes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines)


def test_revisions_of_every_sort(clone: Clone) -> None:
    assert "200 in workspace: no difference" in clone.run("python src/compare.py data HEAD").stdout
    assert "in HEAD~1: no difference" in clone.run("python src/compare.py data before HEAD~1").stdout
    clone.run("dvc exp run -n other -S split.test_fraction=0.4 -S train.epochs=1")
    told = clone.run("python src/compare.py data HEAD other").stdout
    assert "moved" in told
    assert "-> test" in told
    assert "added" not in told


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("data nowhere", "error: nowhere: is no revision or experiment here"),
        ("date HEAD", "invalid choice: 'date'"),
        ("data HEAD~2 HEAD", "error: data/raw/dataset.json: is not there in HEAD~2, or not in the cache; run"),
        ("data HEAD --csv no/folder/x.csv", "error: --csv: the folder no/folder does not exist; create it first"),
    ],
)
def test_mistakes(clone: Clone, command: str, message: str) -> None:
    done = clone.run(f"python src/compare.py {command}", status=2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_copies_are_counted() -> None:
    old = Version(["a"], {"1": (b"x", "a", ""), "2": (b"x", "a", "")})
    new = Version(["a"], {"3": (b"x", "a", ""), "4": (b"x", "a", ""), "5": (b"x", "a", "")})
    assert [(change.kind, change.id, change.before) for change in compare(old, new)] == [
        ("added", "5", ""),
        ("renamed", "3", "1"),
        ("renamed", "4", "2"),
    ]


def test_a_class_that_is_inserted_relabels_nothing() -> None:
    old = Version(["b"], {"1": (b"x", "b", "train")})
    new = Version(["a", "b"], {"1": (b"x", "b", "train"), "2": (b"y", "a", "train")})
    assert [change.kind for change in compare(old, new)] == ["added"]
