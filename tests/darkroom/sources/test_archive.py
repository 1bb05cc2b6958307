"""Good archives give their files; hostile and broken ones give one line, and nothing is written under a name of theirs."""

import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from darkroom.base.errors import InputError
from darkroom.sources.archive import RATIO_FREE_BYTES, Limits, unpack

LIMITS = Limits(max_files=10, max_bytes=200e6, max_ratio=200)
FILES = {"a/1.jpg": b"one", "a/2.jpg": b"", "b/3.jpg": bytes(range(256)) * 9000}


@pytest.fixture
def spool() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def tar_bytes(*members: tarfile.TarInfo, mode: str = "w:", content: bytes = b"x") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for member in members:
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_bytes(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def zip_link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def with_files(mode: str) -> bytes:
    if mode == "zip":
        return zip_bytes(("./a/", b""), *FILES.items())
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        archive.addfile(member("./a", tarfile.DIRTYPE))
        for name, content in FILES.items():
            info = member(f"./{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("mode", ["zip", "w:", "w:gz", "w:bz2", "w:xz"])
def test_files_and_folders(mode: str, tmp_path: Path, spool: IO[bytes]) -> None:
    # The name does not tell what it is.
    archive = tmp_path / "archive"
    archive.write_bytes(with_files(mode))
    entries = unpack(archive, spool, LIMITS, "archive")
    assert {entry.name: entry.read() for entry in entries if entry.read} == FILES
    assert [entry.name for entry in entries if entry.kind == "folder"] == ["a"]
    assert list(tmp_path.iterdir()) == [archive]


def test_names_without_flag_are_utf8(tmp_path: Path, spool: IO[bytes]) -> None:
    data = zip_bytes(("花/1.jpg", b"x"))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(signature) + place
        data = data[:at] + b"\x00\x00" + data[at + 2 :]
    (tmp_path / "a.zip").write_bytes(data)
    assert unpack(tmp_path / "a.zip", spool, LIMITS, "a.zip")[0].name == "花/1.jpg"


BOMB = bytes(RATIO_FREE_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tar_bytes(member("../x.jpg")), "its member '../x.jpg' leads out of the archive; pack it again"),
        (lambda: tar_bytes(member("a/../../x.jpg")), "its member 'a/../../x.jpg' leads out of the archive"),
        (lambda: tar_bytes(member("a\\..\\..\\x.jpg")), "its member 'a\\\\..\\\\..\\\\x.jpg' leads out of the archive"),
        (lambda: tar_bytes(member("/etc/x.jpg")), "its member '/etc/x.jpg' is an absolute path"),
        (lambda: tar_bytes(member("C:\\x.jpg")), "its member 'C:\\\\x.jpg' is an absolute path"),
        (lambda: tar_bytes(member("\\\\host\\x.jpg")), "its member '\\\\\\\\host\\\\x.jpg' is an absolute path"),
        (lambda: tar_bytes(member("x.jpg", tarfile.SYMTYPE, "/etc/passwd")), "its member 'x.jpg' is a link"),
        (lambda: tar_bytes(member("x.jpg", tarfile.LNKTYPE, "y.jpg")), "its member 'x.jpg' is a link"),
        (lambda: tar_bytes(member("x.jpg", tarfile.CHRTYPE)), "its member 'x.jpg' is a device"),
        (lambda: tar_bytes(member("x.jpg", tarfile.BLKTYPE)), "its member 'x.jpg' is a device"),
        (lambda: tar_bytes(member("x.jpg", tarfile.FIFOTYPE)), "its member 'x.jpg' is a device, a pipe"),
        (lambda: tar_bytes(member("x.jpg"), member("./x.jpg")), "its member './x.jpg' occurs twice"),
        (lambda: tar_bytes(*(member(str(n)) for n in range(11))), "has more than 10 files; if that is right, raise"),
        (lambda: tar_bytes(member("x"), mode="w:gz", content=BOMB), "unpacks to more than 200 times its size, like a zip bomb"),
        (lambda: tar_bytes(member("n" * len(BOMB)), mode="w:gz"), "unpacks to more than 200 times its size, like a zip bomb"),
        (lambda: zip_bytes(("x", BOMB)), "unpacks to more than 200 times its size, like a zip bomb; if that is right, raise"),
        (lambda: zip_bytes(("../x.jpg", b"x")), "its member '../x.jpg' leads out of the archive"),
        (lambda: zip_bytes((zip_link("x.jpg"), b"/etc/passwd")), "its member 'x.jpg' is a link"),
        (lambda: zip_bytes(*((str(n), b"") for n in range(11))), "has more than 10 files"),
        (lambda: with_files("w:")[:5000], "is not a .zip or .tar.* archive, or is damaged ("),
        (lambda: with_files("w:gz")[:-20], "is not a .zip or .tar.* archive, or is damaged ("),
        (lambda: with_files("w:xz")[:-60], "is not a .zip or .tar.* archive, or is damaged ("),
        (lambda: with_files("w:bz2")[:-60], "is not a .zip or .tar.* archive, or is damaged ("),
        (lambda: with_files("zip")[:-30], "is not a .zip or .tar.* archive, or is damaged ("),
        (lambda: b"<html>Log in</html>", "is not a .zip or .tar.* archive, or is damaged ("),
        (lambda: b"", "is not a .zip or .tar.* archive, or is damaged ("),
    ],
)
def test_refused(make: Callable[[], bytes], message: str, tmp_path: Path, spool: IO[bytes]) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(make())
    with pytest.raises(InputError) as caught:
        unpack(archive, spool, LIMITS, "set.tar")
    assert str(caught.value).startswith(f"set.tar: {message}")
    assert ";" in str(caught.value)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_damaged_header_in_the_middle_is_not_the_end(tmp_path: Path, spool: IO[bytes]) -> None:
    data = bytearray(tar_bytes(member("1.jpg"), member("2.jpg"), member("3.jpg")))
    data[1024] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tar: is not a \.zip or \.tar\.\* archive, or is damaged"):
        unpack(tmp_path / "a.tar", spool, LIMITS, "a.tar")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_in_a_zip(tmp_path: Path, spool: IO[bytes]) -> None:
    (tmp_path / "a.zip").write_bytes(zip_bytes(("x", b"1"), ("x", b"2")))
    with pytest.raises(InputError, match=r"a\.zip: its member 'x' occurs twice"):
        unpack(tmp_path / "a.zip", spool, LIMITS, "a.zip")


def test_an_encrypted_zip(tmp_path: Path, spool: IO[bytes]) -> None:
    data = bytearray(zip_bytes(("x", b"1")))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + place] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.zip: its member 'x' is encrypted"):
        unpack(tmp_path / "a.zip", spool, LIMITS, "a.zip")


def test_declared_sizes_are_not_believed(tmp_path: Path, spool: IO[bytes]) -> None:
    data = bytearray(zip_bytes(("x", bytes(100_000))))
    at = data.index(b"PK\x01\x02") + 24
    data[at : at + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        unpack(tmp_path / "a.zip", spool, LIMITS, "a.zip")


@pytest.mark.parametrize("mode", ["zip", "w:gz"])
def test_largest_size(mode: str, tmp_path: Path, spool: IO[bytes]) -> None:
    (tmp_path / "a").write_bytes(with_files(mode))
    with pytest.raises(InputError, match=r"a: unpacks to more than 0\.001 GB; if that is right, raise download\.max_gigabytes"):
        unpack(tmp_path / "a", spool, LIMITS._replace(max_bytes=1e6), "a")


def test_small_flat_drawings_are_no_bomb(tmp_path: Path, spool: IO[bytes]) -> None:
    (tmp_path / "a.zip").write_bytes(zip_bytes(("x", bytes(10_000_000))))
    assert len(unpack(tmp_path / "a.zip", spool, LIMITS, "a.zip")) == 1


@pytest.mark.parametrize("size", [10**12, 10**30])
def test_holes_are_refused_before_they_are_filled(size: int, tmp_path: Path, spool: IO[bytes]) -> None:
    info = member("a/x.jpg")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(size), "GNU.sparse.name": "a/x.jpg"}
    path = tmp_path / "archive"
    path.write_bytes(tar_bytes(info))
    with pytest.raises(InputError, match=r"its member 'a/x\.jpg' is sparse; pack it again with regular files only"):
        list(unpack(path, spool, LIMITS, "archive"))
    assert spool.seek(0, io.SEEK_END) == 0
