"""An archive by path or address: found, pinned by its checksum, cached once; or one line that says what to correct."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams
from darkroom.sources import http
from darkroom.sources.fetch import checksum, fetch, shown_archive

CONTENT = b"PK, say" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
Download = Callable[..., DownloadParams]


@pytest.fixture
def archive(download: Download, monkeypatch: pytest.MonkeyPatch) -> Download:
    monkeypatch.setattr(http, "BACKOFF_SECONDS", (0.01,))
    return lambda path, sha256=SHA256: download(source="archive", archive=path, sha256=sha256, timeout_seconds=1.0)


@pytest.mark.parametrize("form", ["{root}/a.zip", "a.zip", "file:{root}/a.zip", "file://{root}/a.zip", "file:///{root}/a%2Ezip"])
def test_files_on_this_machine(form: str, archive: Download, root: Path) -> None:
    (root / "a.zip").write_bytes(CONTENT)
    params = archive(form.format(root=root))
    assert fetch(params).read_bytes() == CONTENT
    assert checksum(params) == SHA256
    assert shown_archive(params) == ("a%2Ezip" if "%" in form else "a.zip")
    assert not (root / "cache").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.zip", "params.yaml: download.archive: no.zip does not exist; correct the path"),
        ("folder", "params.yaml: download.archive: folder is a folder; set download.source to folder and download.folder to it"),
        ("fifo", "params.yaml: download.archive: fifo is not a regular file; correct the path"),
        ("ftp://host/a.zip", "params.yaml: download.archive: 'ftp:' addresses are not supported; use a path, or one of file://"),
        ("s3:bucket/a.zip", "params.yaml: download.archive: 's3:' addresses"),
        (
            "gs://bucket/a.zip",
            "params.yaml: download.archive: gs:// needs a package that is not installed; run 'pip install -c requi",
        ),
        ("s3:///", "params.yaml: download.archive: has no bucket or host; write it as s3://bucket/folder"),
        ("https:///a.zip", "params.yaml: download.archive: is not a valid address; write it as https://host/path"),
        ("http://host:port/a.zip", "params.yaml: download.archive: is not a valid address"),
    ],
)
def test_what_cannot_be_fetched(name: str, message: str, archive: Download, root: Path) -> None:
    import os

    (root / "folder").mkdir()
    os.mkfifo(root / "fifo")
    with pytest.raises(InputError) as caught:
        fetch(archive(name))
    assert str(caught.value).startswith(message)


def test_a_wrong_file_names_both_checksums(archive: Download, root: Path) -> None:
    (root / "a.zip").write_bytes(CONTENT)
    with pytest.raises(InputError, match=rf"a\.zip: has the SHA-256 {SHA256}, but download\.sha256 is {OTHER}, so nothing was"):
        fetch(archive("a.zip", OTHER))


def test_an_address_is_downloaded_once(archive: Download, server: Any, root: Path) -> None:
    server.answers["/a.zip"] = [server.body(CONTENT)]
    params = archive(f"{server.address}/a.zip?part=1")
    path = fetch(params)
    assert fetch(params) == path == root / "cache" / "archives" / SHA256
    assert path.read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_a_damaged_cache_is_noticed(archive: Download, server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers["/a.zip"] = [server.body(CONTENT)]
    params = archive(f"{server.address}/a.zip")
    fetch(params).write_bytes(b"rotten")
    assert fetch(params).read_bytes() == CONTENT
    assert "has changed since it was downloaded" in capsys.readouterr().err


def test_an_old_part_of_something_else_does_not_poison(archive: Download, server: Any, root: Path) -> None:
    server.answers["/a.zip"] = [server.ranged(CONTENT)]
    (root / "cache" / "archives").mkdir(parents=True)
    (root / "cache" / "archives" / f"{SHA256}.part").write_bytes(b"x" * 50)
    assert fetch(archive(f"{server.address}/a.zip")).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("body", "hint"),
    [(b"other", "if you trust this file"), (b"\n<!DOCTYPE html><title>Log in", "it is a web page, perhaps a login page: use an")],
)
def test_wrong_content_leaves_nothing(body: bytes, hint: str, archive: Download, server: Any, root: Path) -> None:
    server.answers["/a.zip"] = [server.body(body)]
    with pytest.raises(InputError, match=hint) as caught:
        fetch(archive(f"{server.address}/a.zip"))
    assert f"but download.sha256 is {SHA256}" in str(caught.value)
    assert [path.suffix for path in (root / "cache" / "archives").iterdir()] == [".lock"]


def test_without_a_checksum(archive: Download, server: Any) -> None:
    with pytest.raises(
        InputError, match=r"download\.sha256: is null, .* run '\./darkroom download --checksum' and set the value"
    ):
        fetch(archive(f"{server.address}/a.zip", None))
    assert server.ranges == []


def test_the_checksum_of_an_address_and_then_no_second_download(archive: Download, server: Any) -> None:
    server.answers["/a.zip"] = [server.body(CONTENT)]
    address = f"{server.address}/a.zip"
    assert checksum(archive(address, None)) == SHA256
    assert fetch(archive(address)).read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_the_checksum_of_a_login_page_is_refused(archive: Download, server: Any) -> None:
    server.answers["/a.zip"] = [server.body(b"<html>")]
    with pytest.raises(InputError, match=r"/a\.zip: it is a web page"):
        checksum(archive(f"{server.address}/a.zip", None))


def test_no_secret_is_shown(archive: Download) -> None:
    address = "https://me:word@host.org:444/set/a.zip?key=secret#here"
    params = archive("a.zip").model_copy(update={"archive": address})  # params.yaml must not hold it (darkroom.base.secrets)
    assert shown_archive(params) == "https://host.org:444/set/a.zip"


def test_two_at_once_download_once(archive: Download, server: Any) -> None:
    server.answers["/a.zip"] = [server.body(CONTENT)]
    params = archive(f"{server.address}/a.zip")
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(fetch(params).read_bytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 4
    assert len(server.ranges) == 1


def test_local_archives_need_no_network_code() -> None:
    code = (
        "import sys, darkroom.sources.fetch, darkroom.sources.read; assert not {'requests', 'rich', 'torch'} & set(sys.modules)"
    )
    src = Path(__file__).resolve().parents[3] / "src"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=src)
