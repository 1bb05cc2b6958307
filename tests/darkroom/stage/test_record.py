"""The record says what a result was made of, whatever that is."""

import sys
from pathlib import Path

import pytest

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.stage import record
from darkroom.stage.inputs import read_inputs


def test_hashes_are_of_files_and_of_every_file_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "tables" / "deep").mkdir(parents=True)
    (tmp_path / "tables" / "deep" / "a.csv").write_text("1")
    (tmp_path / "tables" / "b.csv").write_text("2")
    (tmp_path / "tables" / "b.csv~").write_text("of an editor")
    (tmp_path / "raw").mkdir()
    files.write_sealed_json(tmp_path / "raw" / "dataset.json", {})
    (tmp_path / "raw" / "images.npy").write_text("its hash is in dataset.json")
    found = record.hashes({"metrics": tmp_path / "tables", "one": tmp_path / "tables" / "b.csv", "data/raw": tmp_path / "raw"})
    assert found == {
        "data/raw/dataset.json": files.sha256(tmp_path / "raw" / "dataset.json"),
        "metrics/b.csv": files.sha256(tmp_path / "tables" / "b.csv"),
        "metrics/deep/a.csv": files.sha256(tmp_path / "tables" / "deep" / "a.csv"),
        "one": files.sha256(tmp_path / "tables" / "b.csv"),
    }


def test_a_folder_is_another_if_a_file_has_another_name_or_content(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = record.digest(tmp_path, "photos")
    assert first == record.digest(tmp_path, "photos")
    (folder / "a").write_text("2")
    second = record.digest(tmp_path, "photos")
    (folder / "a").rename(folder / "b")
    assert len({first, second, record.digest(tmp_path, "photos")}) == 3
    assert record.digest(tmp_path, "photos/b") == files.sha256(folder / "b")
    assert [record.digest(tmp_path, name) for name in ("nothing", "s3://bucket/photos")] == [None, None]


def test_a_link_in_a_circle_is_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_text("")
    (tmp_path / "a" / "back").symlink_to(tmp_path / "a")
    assert record.files_in(tmp_path / "a") == [tmp_path / "a" / "file"]


def test_parameters_that_json_does_not_know_are_text() -> None:
    assert record.plain({"a": float("inf"), "b": Path("x"), "c": None}) == {"a": "Infinity", "b": "x", "c": None}
    assert record.plain(10 ** (sys.get_int_max_str_digits() + 10)) == "unreadable"


def test_a_package_that_is_gone_has_no_version() -> None:
    assert record._version("no-such-package") is None
    assert record._version("numpy")


def test_a_stage_that_dvc_yaml_lost_is_named(root: Path) -> None:  # noqa: ARG001
    with pytest.raises(InputError, match=r"dvc\.yaml: has no stage train; restore it with 'git checkout HEAD -- dvc\.yaml'"):
        read_inputs("train")


def test_a_number_of_thousands_of_digits_is_an_input_all_the_same(root: Path) -> None:  # noqa: ARG001
    paths.PARAMS.write_text("base: {seed: 0x" + "f" * 5000 + "}\nsplit: 1\n")
    assert read_inputs("split")["params.yaml: base.seed"] == "unreadable"
