"""A file or folder that is written is there whole or not at all; what stood there is never written into."""

import errno
import json
import os
from pathlib import Path

import pytest

from darkroom.base import files


def listed(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), files.replaced_file(path) as temporary:
        temporary.write_text(str(1 / 0))
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}
    assert listed(tmp_path) == ["result.json"]


def test_a_link_to_the_cache_is_replaced_not_written_into(tmp_path: Path) -> None:
    cached, path = tmp_path / "cached", tmp_path / "result"
    cached.write_text("old")
    path.hardlink_to(cached)
    files.write_text(path, "new")
    assert (cached.read_text(), path.read_text()) == ("old", "new")


@pytest.mark.parametrize("before", ["folder", "file", "nothing"])
def test_a_folder_takes_the_place_of_what_was_there(tmp_path: Path, before: str) -> None:
    path = tmp_path / "results"
    if before == "folder":
        path.mkdir()
        (path / "old").write_text("old")
    elif before == "file":
        path.write_text("old")
    with files.replaced_dir(path) as temporary:
        (temporary / "new").write_text("new")
    assert [entry.name for entry in path.iterdir()] == ["new"]
    assert listed(tmp_path) == ["results"]


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "results"
    path.mkdir()
    (path / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), files.replaced_dir(path) as temporary:
        (temporary / "new").write_text(str(1 / 0))
    assert [entry.name for entry in path.iterdir()] == ["old"]
    assert listed(tmp_path) == ["results"]


def test_a_folder_that_cannot_be_replaced_stands_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results"
    path.mkdir()
    (path / "old").write_text("old")
    replace = Path.replace

    def fail_in_place(source: Path, target: Path) -> Path:
        if target == path and source.name != "old":
            raise OSError(errno.EIO, "Input/output error", str(source))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", fail_in_place)
    with pytest.raises(OSError, match="Input/output"), files.replaced_dir(path):
        pass
    assert [entry.name for entry in path.iterdir()] == ["old"]
    assert listed(tmp_path) == ["results"]


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space") as caught, files.replaced_file(tmp_path / "result"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "result")
    with pytest.raises(OSError, match=r"refused") as caught, files.replaced_file(tmp_path / "result"):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert caught.value.filename is None


def test_files_are_as_readable_as_others(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    files.write_text(tmp_path / "result", "")
    assert (tmp_path / "result").stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize(
    "text", ["-1", "+1", "-33.5", "-.5", "-1e-05", "-1,234.5", "-12%", "-inf", "-05:00", "+01:30:59.5", "1-2", ""]
)
def test_numbers_and_times_stay_in_csv_as_they_are(text: str) -> None:
    assert files.csv_text(text) == text


@pytest.mark.parametrize(
    "text", ["=1+1", "-1+2", "+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "-A1", "--1", "-1:2:3:4", "-\u0661", "-1\n"]
)
def test_formulas_do_not(text: str) -> None:
    assert files.csv_text(text) == "'" + text


def test_an_empty_file_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal"
    files.make_file(path)
    path.write_text("content")
    files.make_file(path)
    assert path.read_text() == "content"


def test_only_regular_files_of_a_known_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1234")
    assert files.read_regular(tmp_path / "file", at_most=4) == b"1234"
    with pytest.raises(OSError, match="is larger than 0 MB"):
        files.read_regular(tmp_path / "file", at_most=3)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file"):
        files.read_regular(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        files.read_regular(tmp_path / "nothing")


def sealed(text: str) -> bytes:
    """Return JSON with the right hash whatever its kind: `text` has a place for it."""
    before, mark, after = text.rpartition(f'"{files.SEAL}": "')
    digest = files._text_sha256(before + mark + after)
    return (before + mark + digest + after).encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (sealed('[{"content_sha256": ""}]'), "is not an object"),
        (sealed('{"a": ' + "[" * 100_000 + "]" * 100_000 + ', "content_sha256": ""}'), "is nested too deeply"),
        (sealed('{"a": , "content_sha256": ""}'), "Expecting value"),
        (b'{"a": 1}', "does not have the SHA-256"),
    ],
)
def test_what_is_sealed_and_no_record_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        files.parse_sealed_json(content)


def test_a_disk_that_fails_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output") as caught:
        files.write_text(tmp_path / "result", "text")
    assert str(caught.value.filename).startswith(str(tmp_path))
    assert listed(tmp_path) == []
