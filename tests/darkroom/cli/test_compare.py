"""`./darkroom compare data REV REV` in a clone whose images change from commit to commit."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from clones import Clone, make_clone, outs
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.xdist_group("compare")
KINDS = ["added", "removed", "relabelled", "moved", "renamed", "replaced"]


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Two commits of data; in the second each kind of change happened once, beside an experiment."""
    made = make_clone(tmp_path_factory.mktemp("compare") / "darkroom")
    # By content: no image that stays as it is moves because of the others.
    made.edit({"source: digits": "source: folder", "method: stratified": "method: stable"})
    photos = made.path / "data" / "photos"
    for number in range(200):
        image(photos / "ab"[number % 2] / f"{number:03d}.png", number)
    made.run("dvc repro split && git add -A && git commit -qm before")
    image(photos / "a" / "new.png", 1000)
    (photos / "a" / "000.png").unlink()
    image(photos / "a" / "002.png", 1002)
    shutil.move(photos / "a" / "004.png", photos / "a" / "004b.png")
    shutil.move(photos / "a" / "006.png", photos / "b" / "006.png")
    made.run("dvc repro split && git add -A && git commit -qm after && dvc exp run -n other -S split.test_fraction=0.7 split")
    made.run("git checkout -q . && dvc checkout -q --force data/raw data/split")
    return made


def told(clone: Clone, arguments: str) -> dict[str, list[str]]:
    """Return the images that are listed, by the words before the colon above them."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in clone.run(f"./darkroom compare data {arguments}").stdout.splitlines():
        if line.startswith("  "):
            found[name].append(line.strip())
        else:
            name, _, count = line.partition(": ")
            found[name] = []
            if name in KINDS:
                found[f"number {name}"] = [count]
    return found


@contextmanager
def without(path: Path) -> Iterator[None]:
    """Move a file away while the block runs."""
    path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        path.with_suffix(".away").rename(path)


def cached(clone: Clone, name: str) -> Path:
    """Return the object of the cache that holds a file of an output."""
    cache = clone.path / ".dvc" / "cache" / "files" / "md5"
    out, _, file = name.rpartition("/")
    listing = outs(clone.path / "dvc.lock")[out]
    (digest,) = [
        entry["md5"] for entry in json.loads((cache / listing[:2] / listing[2:]).read_text()) if entry["relpath"] == file
    ]
    return cache / digest[:2] / digest[2:]


@pytest.mark.slow
def test_every_kind_of_change_is_told(clone: Clone, tmp_path: Path) -> None:
    found = told(clone, f"HEAD~1 HEAD --csv {tmp_path}/changes.csv")
    # An image with other pixels may have got another place; nothing else has.
    assert all(line.startswith("a/002.png ") for line in found["moved"])
    names = {kind: [line.split("  ")[:2] for line in found[kind]] for kind in KINDS if kind != "moved"}
    assert names == {
        "added": [["a/new.png", "a"]],
        "removed": [["a/000.png", "a"]],
        "relabelled": [["a/006.png -> b/006.png", "a -> b"]],
        "renamed": [["a/004.png -> a/004b.png", "a"]],
        "replaced": [["a/002.png", "a"]],
    }
    with (tmp_path / "changes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} - {"moved"} == {*KINDS} - {"moved"}
    assert len(rows) == sum(len(lines) for name, lines in found.items() if not name.startswith("number"))


@pytest.mark.slow
def test_there_and_back(clone: Clone) -> None:
    found = told(clone.cold(), "HEAD HEAD~1")
    assert [line.split()[0] for line in found["added"] + found["removed"]] == ["a/000.png", "a/new.png"]
    assert found["renamed"][0].startswith("a/004b.png -> a/004.png")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        "HEAD",
        "workspace HEAD",
        *(pytest.param(each, marks=pytest.mark.thorough) for each in ("HEAD workspace", "HEAD HEAD", "workspace")),
    ],
)
def test_equal_revisions(clone: Clone, arguments: str) -> None:
    found = told(clone, arguments)
    assert all(found[f"number {kind}"] == ["0"] for kind in KINDS)


@pytest.mark.slow
def test_revisions_of_every_sort(clone: Clone) -> None:
    assert told(clone, "HEAD~1 workspace") == told(clone, "HEAD~1")
    found = told(clone, "HEAD other --all")
    moved = found.pop("moved")
    assert int(found.pop("number moved")[0]) == len(moved) > 20
    assert all(line.endswith(("train -> test", "val -> test", "train -> val", "val -> train")) for line in moved)
    assert not any(found[kind] for kind in KINDS if kind != "moved")
    assert told(clone, "HEAD other")["moved"] == [*moved[:20], f"… and {len(moved) - 20} more (--all, --csv FILE)"]


@pytest.mark.slow
def test_a_workspace_between_two_stages(clone: Clone) -> None:
    with without(clone.path / "data" / "split"):
        out = clone.run("./darkroom compare data HEAD~1").stdout
    assert "moved: unknown, since workspace has no split yet" in out
    assert "added: 1" in out
    with without(clone.path / "data" / "raw"):
        done = clone.run("./darkroom compare data HEAD", status=2)
    assert done.stderr == (
        "error: data/raw: workspace has no images; run 'dvc repro', or 'dvc checkout' if this commit has them\n"
    )


@pytest.mark.slow
def test_images_are_never_read_and_what_the_cache_lacks_comes_from_the_remote(clone: Clone, tmp_path: Path) -> None:
    with without(cached(clone, "data/raw/images.npy")), without(clone.path / "data/raw/images.npy"):
        expected = told(clone, "HEAD~1 HEAD")
    with without(cached(clone, "data/split/manifest.csv")):
        done = clone.run("./darkroom compare data HEAD", status=2)
        assert done.stderr.startswith("error: data/split/manifest.csv: the version of HEAD is neither in DVC's cache nor on the ")
        assert "; run 'dvc push' where it was made, then 'dvc fetch --all-commits data/split' here" in done.stderr
        assert done.stderr.count("\n") == 1
    clone.run(f"dvc remote add --local -d backup {tmp_path}/remote && dvc push -q data/raw data/split")
    try:
        with without(cached(clone, "data/split/manifest.csv")), without(cached(clone, "data/raw/index.parquet")):
            assert told(clone, "HEAD~1 HEAD") == expected
    finally:
        clone.run("dvc remote remove --local backup")


@pytest.mark.slow
def test_damage_in_the_cache_is_one_line(clone: Clone) -> None:
    stored = cached(clone, "data/raw/index.parquet")
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    with without(stored):
        stored.write_bytes(content)
        done = clone.run("./darkroom compare data HEAD~1 HEAD", status=2)
        stored.unlink()
    assert done.stderr.startswith("error: data/raw: is damaged in HEAD (ValueError: index.parquet does not have the SHA-256")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("data nowhere", "nowhere: is not a commit, branch, tag or experiment; "),
        ("data othr", "othr: is not a commit, branch, tag or experiment; did you mean 'other'?"),
        ("data HEAD~2 HEAD", "HEAD~2: has no dvc.lock, so nothing is recorded in it; name one committed after 'dvc repro'"),
        ("data torn", "torn: DVC cannot read this revision ("),
        ("data HEAD --csv no/folder/x.csv", "--csv: the folder no/folder does not exist; create it first"),
        ("data HEAD --csv data", "--csv: data is a folder; name a file"),
    ],
)
def test_mistakes(clone: Clone, arguments: str, message: str) -> None:
    if "torn" in arguments:
        clone.run("git checkout -qb torn && echo 'a: [' > dvc.lock && git commit -qam torn && git checkout -q -")
    done = clone.run(f"./darkroom compare {arguments}", status=2)
    assert done.stderr.startswith(f"error: {message}")
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: REV: is missing; './darkroom compare HEAD' compares HEAD with the workspace\n"),
        (["data"], "error: REV: is missing; './darkroom compare data HEAD' compares HEAD with the workspace\n"),
        (["data", "a", "b", "c"], "error: c: unexpected argument; './darkroom compare data' compares two revisions\n"),
        (["data", "a", "--split", "val"], "error: --split: is not of 'compare data'; leave it out, or leave out 'data'\n"),
        (["data", "a", "--md", "-"], "error: --md: is not of 'compare data'; leave it out, or leave out 'data'\n"),
        (["data", "a", "--gate", "x"], "error: --gate: is not of 'compare data'; leave it out, or leave out 'data'\n"),
        (["a", "--csv", "x"], "error: --csv: is of 'compare data'; write './darkroom compare data REV --csv FILE'\n"),
        (["a", "--html", "no/x.html"], "error: --html: the folder no does not exist; create it first\n"),
        (["a", "--md", "no/x.md"], "error: --md: the folder no does not exist; create it first\n"),
        (["a", "--html", "docs"], "error: --html: docs is a folder; name a file\n"),
        (["a", "--split", "tset"], "error: --split: is 'tset', but should be one of"),
        (["a", "--gaet", "x"], "error: --gaet: unknown flag; did you mean '--gate'?\n"),
        (["a", "--gate"], "error: --gate: needs one argument; './darkroom compare --help' shows the arguments\n"),
    ],
)
def test_the_first_words(arguments: list[str], message: str) -> None:
    command = [sys.executable, "-X", "importtime", "darkroom", "compare", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines(keepends=True) if not line.startswith("import time:")]
    assert (done.returncode, done.stdout, len(said)) == (2, "", 1)
    assert said[0].startswith(message)
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "darkroom" in imported
    assert not {"dvc", "numpy", "pyarrow", "torch"} & imported
