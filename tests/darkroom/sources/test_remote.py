"""Folders, tables and archives in object stores: as those on a disk, but no fault of a network makes a set smaller."""

import contextlib
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from object_store import ObjectStore, breaks_off, object_store, refuses, whole
from ssh_server import ssh_server

from darkroom.base import files
from darkroom.base.errors import InputError, RunError
from darkroom.base.params import DownloadParams
from darkroom.data.pack import Pack
from darkroom.sources import pack_writer, remote
from darkroom.sources.fetch import checksum, fetch
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

Download = Callable[..., DownloadParams]
NAMES = ["a/1.png", "a/deep/ä b.png", "b/1.png", "b/2.png"]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with object_store() as served:
        for name, value in served.env.items():
            monkeypatch.setenv(name, value)
        yield served


@pytest.fixture
def photos(store: ObjectStore, image: Callable[..., bytes]) -> ObjectStore:
    for seed, name in enumerate(NAMES):
        store.put(f"set/{name}", image(seed))
    return store


@pytest.fixture
def pack(root: Path, download: Download) -> Callable[..., Pack]:
    def run(**changes: Any) -> Pack:
        params = download(**({"source": "folder", "folder": "s3://bucket/set"} | changes))
        with files.replaced_dir(root / "raw") as directory, read_source(params, directory) as listing:
            write_pack(listing, directory, params)
        return Pack.open(root / "raw")

    return run


def test_a_folder_as_on_a_disk(photos: ObjectStore, pack: Callable[..., Pack], root: Path, image: Callable[..., bytes]) -> None:
    photos.put("set/", b"")
    photos.put("set/.hidden", b"x")
    photos.put("set/a/.DS_Store", b"x")
    photos.put("set/a/.checkpoints/1.png", b"x")
    photos.put("setting/c/1.png", b"a neighbour")
    far = pack()
    written = {path.name: path.read_bytes() for path in (root / "raw").iterdir()}
    for seed, name in enumerate(NAMES):
        (root / "near" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "near" / name).write_bytes(image(seed))
    near = pack(folder="near")
    assert far.ids == near.ids == NAMES
    assert written["images.npy"] == (root / "raw" / "images.npy").read_bytes()
    assert written["index.parquet"] == (root / "raw" / "index.parquet").read_bytes()
    dataset = json.loads(written["dataset.json"])
    assert (dataset["source"], dataset["name"]) == ("folder", "s3://bucket/set")
    assert dataset["ignored"] == [".hidden", "a/.DS_Store", "a/.checkpoints"]
    assert not any(word in str(written) for word in ("secret", "somebody", "127.0.0.1"))


def test_parts_of_a_folder(photos: ObjectStore, pack: Callable[..., Pack], image: Callable[..., bytes]) -> None:
    for seed, name in enumerate(["2023/a/1.png", "2023/b/1.png", "2024/a/1.png", "2025/a/1.png"], 10):
        photos.put(f"years/{name}", image(seed))
    assert pack(folder="s3://bucket/years/", parts=["2023", "2025"]).ids == ["2023/a/1.png", "2023/b/1.png", "2025/a/1.png"]
    with pytest.raises(InputError, match=r"download\.parts: '202' is not a folder in s3://bucket/years; correct it"):
        pack(folder="s3://bucket/years", parts=["202"])


def test_a_table(photos: ObjectStore, pack: Callable[..., Pack]) -> None:
    photos.put("set/tables/t.csv", b"path,label\n1.png,x\n")
    photos.put("set/t.csv", b"path,label\na/1.png,x\nb/1.png,y\nb/nowhere.png,y")
    table = {"source": "manifest", "manifest": "t.csv"}
    with pytest.raises(InputError, match=r"s3://bucket/set/t\.csv: 1 unreadable .* \('b/nowhere\.png' does not exist\)"):
        pack(**table)
    packed = pack(**table, max_bad=1)
    assert (packed.ids, packed.classes) == (["a/1.png", "b/1.png"], ["x", "y"])
    with pytest.raises(InputError, match=r"download\.manifest: s3://bucket/set has no file 'u\.csv'; set it to the path"):
        pack(source="manifest", manifest="u.csv")


def test_an_empty_class_and_a_folder_without_a_name(photos: ObjectStore, pack: Callable[..., Pack]) -> None:
    photos.put("set/c/", b"")
    with pytest.raises(InputError, match=r"s3://bucket/set: the folder of class 'c' \(train\) is empty"):
        pack()
    photos.put("set//1.png", b"x")
    with pytest.raises(InputError, match=r"s3://bucket/set: '/1\.png' has a folder without a name; rename it"):
        pack()


@pytest.mark.sample(1)
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.thorough), 3])
@pytest.mark.parametrize("fault", [refuses("503 Slow Down", "SlowDown"), refuses("500 Oops", "InternalError"), breaks_off])
def test_what_passes_is_tried_again(fault: Any, times: int, photos: ObjectStore, pack: Callable[..., Pack]) -> None:
    photos.faults = {"/bucket/set/a/1.png": [fault] * times}
    assert pack().ids == NAMES
    assert photos.faults == {"/bucket/set/a/1.png": []}


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (refuses("403 No", "AccessDenied"), "PermissionError: as the test wants it"),
        (refuses("400 No", "ExpiredToken", "expired"), "PermissionError: expired"),
        (breaks_off, "ClientPayloadError"),
    ],
)
def test_faults_are_no_bad_images(fault: Any, reason: str, photos: ObjectStore, pack: Callable[..., Pack]) -> None:
    photos.faults = {"/bucket/set/a/1.png": [fault] * 99}
    with pytest.raises(RunError, match=rf"s3://bucket/set/a/1\.png: cannot be read \({reason}.*\); check the network and the"):
        pack(max_bad=9)


def test_unreadable_images_are(photos: ObjectStore, pack: Callable[..., Pack]) -> None:
    photos.put("set/b/2.png", b"no image")
    with pytest.raises(InputError, match=r"1 unreadable image\(s\), .* \('b/2\.png' "):
        pack()
    assert pack(max_bad=1).ids == NAMES[:3]


@pytest.mark.sample(1)
@pytest.mark.parametrize("name", ["set/a/1.png", pytest.param("set/b/1.png", marks=pytest.mark.thorough), "set/b/new.png"])
def test_a_change_meanwhile(name: str, photos: ObjectStore, pack: Callable[..., Pack], root: Path) -> None:
    pack()
    before = (root / "raw" / "dataset.json").read_bytes()
    photos.before = {"/bucket/set/a/1.png": lambda: photos.put(name, b"other")}
    with pytest.raises(RunError, match=rf"s3://bucket/set: '{name[4:]}' changed while it was read; run the same command again"):
        pack(max_bad=9)
    photos.before = {"/bucket/set/a/1.png": lambda: photos.delete("set/a/1.png")}
    with pytest.raises(RunError, match=r"s3://bucket/set: 'a/1\.png' changed while it was read"):
        pack(max_bad=9)
    assert (root / "raw" / "dataset.json").read_bytes() == before


def test_many_are_read_at_a_time(photos: ObjectStore, pack: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(3, timeout=5)
    names = [name for name in NAMES if name.isascii()]

    def wait() -> None:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait()

    photos.before = {f"/bucket/set/{name}": wait for name in names}
    assert pack().ids == NAMES
    assert not together.broken
    # The twin: one reader never has a second request under way.
    monkeypatch.setattr(pack_writer, "READERS", 1)
    together = threading.Barrier(2, timeout=0.2)
    photos.before = {f"/bucket/set/{name}": wait for name in names[:2]}
    assert pack().ids == NAMES
    assert together.broken


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("s3://bucket/sets", "params.yaml: download.folder: s3://bucket/sets does not exist, or is empty; correct it"),
        ("s3://nowhere/set", "params.yaml: download.folder: s3://nowhere/set does not exist, or is empty; correct it"),
        ("s3://bucket/set/a/1.png", "params.yaml: download.folder: s3://bucket/set/a/1.png is not a folder; correct it"),
        ("s3://", "params.yaml: download.folder: has no bucket or host; write it as s3://bucket/folder"),
        (
            "s3://me:word@bucket/set",
            "params.yaml: download.folder: holds a password or token, which would be recorded; leave it out",
        ),
        ("azure://c/set", "params.yaml: download.folder: azure:// needs a package that is not installed; run 'pip install -c"),
    ],
)
def test_typos(folder: str, message: str, photos: ObjectStore, pack: Callable[..., Pack]) -> None:
    assert photos
    with pytest.raises(InputError) as caught:
        pack(folder=folder)
    assert str(caught.value).startswith(message)


def test_no_credentials(photos: ObjectStore, pack: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch) -> None:
    assert photos
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(RunError, match=r"s3://bucket/set: cannot be read \(NoCredentialsError: .*\); .*\(AWS_PROFILE, AWS_ACC"):
        pack()


@pytest.mark.slow
def test_no_server(pack: Callable[..., Pack], store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(RunError, match=r"s3://bucket/set: cannot be read \(.*127\.0\.0\.1:1.*\); check the network"):
        pack()


def test_no_secret_in_an_error(pack: Callable[..., Pack], monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no answer from https://me:word@host/path?signature=secret\nat all")

    monkeypatch.setitem(remote.BACKENDS, "gs", remote.Backend("memory", "nothing", "nothing"))
    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    with pytest.raises(RunError, match=r"^gs://b/set: cannot be read \(OSError: no answer from https://…host/path\?…") as caught:
        pack(folder="gs://me@b/set")
    assert not any(word in str(caught.value) for word in ("word", "secret", "me@", "\n"))


def archive_of(image: Callable[..., bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for seed, name in enumerate(NAMES):
            info, data = tarfile.TarInfo(name), image(seed)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@pytest.fixture
def archive(store: ObjectStore, image: Callable[..., bytes]) -> bytes:
    data = archive_of(image)
    store.put("set.tar", data)
    return data


def test_an_archive(archive: bytes, store: ObjectStore, pack: Callable[..., Pack], download: Download, root: Path) -> None:
    chosen = {"source": "archive", "archive": "s3://bucket/set.tar"}
    digest = hashlib.sha256(archive).hexdigest()
    with pytest.raises(InputError, match=r"download\.sha256: is null"):
        pack(**chosen)
    assert checksum(download(**chosen)) == digest
    asked = len(store.asked)
    assert pack(**chosen, sha256=digest).ids == NAMES
    assert len(store.asked) == asked
    assert json.loads((root / "raw" / "dataset.json").read_text())["name"] == "s3://bucket/set.tar"
    with pytest.raises(InputError, match=rf"s3://bucket/set\.tar: has the SHA-256 {digest}, but .* nothing was unpacked"):
        pack(**chosen, sha256="0" * 64)


def test_archives_of_two_kinds_are_one_set(archive: bytes, store: ObjectStore, pack: Callable[..., Pack], root: Path) -> None:
    assert store
    (root / "near.tar").write_bytes(archive)
    digest = hashlib.sha256(archive).hexdigest()
    more = [{"archive": "s3://bucket/set.tar", "sha256": digest}]
    packed = pack(source="archive", archive="near.tar", sha256=digest, more_archives=more)
    assert packed.ids == [f"{part}/{name}" for part in (1, 2) for name in NAMES]


def test_a_broken_transfer_goes_on(
    archive: bytes, store: ObjectStore, download: Download, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "BLOCK_BYTES", 1000)
    params = download(source="archive", archive="s3://bucket/set.tar", sha256=hashlib.sha256(archive).hexdigest())
    store.faults = {"/bucket/set.tar": [whole] * 3 + [refuses("403 No", "AccessDenied")] * 9}
    with pytest.raises(RunError, match=r"s3://bucket/set\.tar: cannot be read \(PermissionError"):
        fetch(params)
    (part,) = (root / "cache" / "archives").glob("*.part")
    assert part.read_bytes() == archive[:3000]
    store.faults = {}
    store.asked.clear()
    assert fetch(params).read_bytes() == archive
    assert "GET /bucket/set.tar bytes=3000-3999" in store.asked
    assert "GET /bucket/set.tar bytes=0-999" not in store.asked


def test_an_old_part_of_something_longer(archive: bytes, store: ObjectStore, download: Download, root: Path) -> None:
    assert store
    digest = hashlib.sha256(archive).hexdigest()
    (root / "cache" / "archives").mkdir(parents=True)
    (root / "cache" / "archives" / f"{digest}.part").write_bytes(bytes(len(archive) + 1))
    assert fetch(download(source="archive", archive="s3://bucket/set.tar", sha256=digest)).read_bytes() == archive


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("no.tar", {}, "params.yaml: download.archive: s3://bucket/no.tar does not exist; correct it"),
        (
            "",
            {},
            "params.yaml: download.archive: s3://bucket is a folder; set download.source to folder and download.folder to it",
        ),
        (
            "set.tar",
            {"max_gigabytes": 1e-6},
            "s3://bucket/set.tar: is larger than 1e-06 GB; if that is right, raise download.max_g",
        ),
    ],
)
def test_no_archive(name: str, changes: dict[str, Any], message: str, archive: bytes, download: Download) -> None:
    assert archive
    with pytest.raises(InputError) as caught:
        fetch(download(source="archive", archive=f"s3://bucket/{name}", sha256="0" * 64, **changes))
    assert str(caught.value).startswith(message)


def test_the_other_backends_go_the_same_way(
    pack: Callable[..., Pack], image: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    memory = MemoryFileSystem()
    monkeypatch.setitem(remote.BACKENDS, "gs", remote.Backend("memory", "nothing", "nothing"))
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    for seed, name in enumerate(NAMES):
        memory.pipe_file(f"/bucket/set/{name}", image(seed))
    assert pack(folder="gs://bucket/set").ids == NAMES
    memory.mkdir("/bucket/set/c")
    with pytest.raises(InputError, match=r"gs://bucket/set: the folder of class 'c' \(train\) is empty"):
        pack(folder="gs://bucket/set")


def test_a_server_behind_ssh(
    root: Path, pack: Callable[..., Pack], download: Download, image: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sshfs", reason="pip install -r requirements-dev.txt")
    monkeypatch.setenv("HOME", str(root / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    for seed, name in enumerate(NAMES):
        (root / "served/set" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "served/set" / name).write_bytes(image(seed))
    content = archive_of(image)
    (root / "served/set.tar").write_bytes(content)
    changes: dict[str, bytes] = {}

    def change(opened: str) -> None:
        if opened == "/set/a/1.png":
            for name, data in changes.items():
                (root / "served/set" / name).write_bytes(data)

    with ssh_server(root / "served", root / "home", change) as address:
        assert pack(folder=f"{address}/set").ids == NAMES
        assert json.loads((root / "raw/dataset.json").read_text())["name"] == f"{remote.shown_address(address)}/set"
        assert fetch(download(source="archive", archive=f"{address}/set.tar", sha256=hashlib.sha256(content).hexdigest()))
        with pytest.raises(InputError, match=r"download\.folder: ssh://127\.0\.0\.1:\d+/nowhere does not exist, or is empty"):
            pack(folder=f"{address}/nowhere")
        changes["b/3.png"] = image(9)
        with pytest.raises(RunError, match=r"/set: 'b/3\.png' changed while it was read; run the same command again"):
            pack(folder=f"{address}/set")
        (root / "home/.ssh/id_ed25519").unlink()
        with pytest.raises(RunError, match=r"/set: cannot be read \(PermissionError: .*\(~/\.ssh/config and the SSH agent\)"):
            pack(folder=f"{address}/set")


@pytest.mark.parametrize(
    ("address", "shown"),
    [("s3://bucket/set/", "s3://bucket/set"), ("ssh://me:word@host:22/set", "ssh://host:22/set"), ("gs://b/a@b", "gs://b/a@b")],
)
def test_what_is_shown(address: str, shown: str) -> None:
    assert remote.is_remote(address)
    assert remote.shown_address(address) == shown


@pytest.mark.parametrize("path", ["s3:/bucket", "/s3://x", "data/photos", "http://host/x", "s3"])
def test_what_is_no_address(path: str) -> None:
    assert not remote.is_remote(path)
