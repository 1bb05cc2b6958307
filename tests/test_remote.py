"""Images in an object store, as a person uses them: in a clone, by DVC, with a real S3 server."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clones import Clone, make_clone
from object_store import ObjectStore, object_store
from PIL import Image

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("object store")]
NAMES = [f"{name}/{number}.png" for name in "ab" for number in range(10)]


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with object_store() as served:
        for seed, name in enumerate(NAMES):
            served.put(f"set/{name}", image(seed))
        yield served


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, store: ObjectStore) -> Clone:
    made = make_clone(tmp_path_factory.mktemp("clone") / "darkroom")
    made.env |= store.env
    return made


def image(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def pixels(clone: Clone) -> bytes:
    return (clone.path / "data" / "raw" / "images.npy").read_bytes()


def secrets_in(path: Path) -> list[Path]:
    files = [path] if path.is_file() else path.rglob("*")
    return [file for file in files if file.is_file() and b"very secret" in file.read_bytes()]


def test_folder_table_and_archive(clone: Clone, store: ObjectStore) -> None:
    clone.edit({"source: digits ": "source: folder ", "folder: data/photos": "folder: s3://bucket/set"})
    clone.run("dvc repro split")
    by_folder = pixels(clone)
    store.put("setting/a/0.png", image(0))
    assert clone.run("dvc repro split").stdout.count("didn't change, skipping") == 3
    assert clone.run("./darkroom verify").stdout.endswith("everything is as recorded\n")

    store.put("set/a/0.png", image(99))
    assert "Running stage 'download'" in clone.run("dvc repro download").stdout
    assert pixels(clone) != by_folder
    store.put("set/a/0.png", image(0))
    assert clone.run("dvc repro download && dvc status download").stdout.endswith("Data and pipelines are up to date.\n")
    assert pixels(clone) == by_folder

    table = "path,label\n" + "".join(f"{name},{name[0]}\n" for name in NAMES)
    store.put("set/labels.csv", table.encode())
    clone.edit({"source: folder ": "source: manifest ", "manifest: null": "manifest: labels.csv"})
    clone.run("python src/download.py")
    assert pixels(clone) == by_folder
    store.put("set/labels.csv", table.encode() + b"a/0.png,b\n")
    assert "row 22 repeats the path 'a/0.png' of another row" in clone.run("python src/download.py", status=2).stderr

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for seed, name in enumerate(NAMES):
            member = tarfile.TarInfo(name)
            member.size = len(image(seed))
            archive.addfile(member, io.BytesIO(image(seed)))
    store.put("set.tar", file.getvalue())
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    said = clone.run("./darkroom download --checksum s3://bucket/set.tar").stdout
    chosen = f"-S download.source=archive -S download.archive=s3://bucket/set.tar -S download.sha256={digest}"
    assert said.splitlines() == [
        f"{digest}  s3://bucket/set.tar",
        f"If that is the archive you mean: dvc exp run {chosen}",
    ]
    clone.edit(
        {
            "source: manifest ": "source: archive ",
            "manifest: labels.csv": "manifest: null",
            "archive: null": "archive: s3://bucket/set.tar",
            "sha256: null": f"sha256: {digest}",
            "folder: s3://bucket/set": "folder: data/photos",
        }
    )
    clone.run("dvc repro download")
    assert pixels(clone) == by_folder
    assert [secrets_in(clone.path / place) for place in ("data", ".dvc", "dvc.lock", "params.yaml")] == [[]] * 4
    assert secrets_in(clone.path / "tests") != []


def test_where_nothing_is(clone: Clone) -> None:
    clone.run("git checkout -q params.yaml")
    clone.edit({"source: digits ": "source: folder ", "folder: data/photos": "folder: s3://bucket/sets"})
    asked = clone.run("python src/download.py", status=2)
    assert asked.stderr == ("error: params.yaml: download.folder: s3://bucket/sets does not exist, or is empty; correct it\n")
    assert "dependency 's3://bucket/sets' does not exist" in clone.run("dvc repro download", status=None).stderr
