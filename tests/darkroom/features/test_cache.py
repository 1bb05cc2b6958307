"""Kept features: computed once for each content, whatever happens to the files and processes."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.base import files
from darkroom.features import cache
from darkroom.features.cache import Features, Places, cached, content_key, room

ABOUT = ["1", "weights"]


def keys_of(numbers: Any) -> list[bytes]:
    return [content_key(str(number).encode()) for number in numbers]


class Images:
    """Images that are numbers; the features of each are its number, three times."""

    def __init__(self, numbers: Any, at_once: int = 4):
        self.numbers, self.at_once = list(numbers), at_once
        self.computed: list[int] = []

    def __call__(self, places: Places) -> Iterator[tuple[Places, Features]]:
        for start in range(0, len(places), self.at_once):
            part = places[start : start + self.at_once]
            self.computed += [self.numbers[place] for place in part]
            yield part, self.wanted(part)

    def wanted(self, places: Any) -> Features:
        return np.array([[self.numbers[place]] * 3 for place in places], np.float32)

    def features(self, root: Path, about: Any = ABOUT) -> list[float]:
        found, there = cached(root, about, keys_of(self.numbers), self)
        assert there.all()
        assert np.array_equal(found, self.wanted(range(len(self.numbers))))
        return self.computed


def test_an_image_is_computed_once(tmp_path: Path) -> None:
    assert Images(range(10)).features(tmp_path) == [*range(10)]
    assert Images([*range(5, 15), 14, 3]).features(tmp_path) == [*range(10, 15)]
    assert Images([3, 3, 90, 90]).features(tmp_path) == [90]
    assert Images(range(4)).features(tmp_path, ["1", "other weights"]) == [*range(4)]
    assert cached(tmp_path, ABOUT, [], Images([]))[0].shape == (0, 0)


def test_what_cannot_be_computed_is_told_and_not_kept(tmp_path: Path) -> None:
    def compute(places: Places) -> Iterator[tuple[Places, Features]]:
        yield places[:1], np.ones((1, 3), np.float32)

    keys = keys_of([0, 1, 1, 0])
    assert cached(tmp_path, ABOUT, keys, compute)[1].tolist() == [True, False, False, True]
    assert cached(tmp_path, ABOUT, keys, lambda _: [])[1].tolist() == [True, False, False, True]
    found, there = cached(tmp_path, ["x"], keys, lambda _: [])
    assert found.shape == (4, 0)
    assert not there.any()


@pytest.mark.parametrize("how", ["cut", "flipped", "empty", "other"])
def test_a_damaged_part_is_computed_again_with_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str) -> None:
    Images(range(6)).features(tmp_path)
    Images(range(6, 9)).features(tmp_path)
    for path in tmp_path.rglob("*.npy"):
        data = bytearray(path.read_bytes())
        if how == "flipped":
            data[-1] ^= 1
        path.write_bytes({"cut": data[:-5], "flipped": data, "empty": b"", "other": b"something else"}[how])
    assert Images(range(9)).features(tmp_path) == [*range(9)]
    assert capsys.readouterr().err.count("is damaged (and 1 more); its features are computed again") == 1
    assert Images(range(9)).features(tmp_path) == []
    assert capsys.readouterr().err == ""


def test_with_the_right_hash_something_else_is_damage_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Images(range(3)).features(tmp_path)
    (path,) = tmp_path.rglob("*.npy")
    files.write_hash_named(path.parent, "part", ".npy", lambda file: file.write_bytes(b"no array"))
    assert Images(range(3)).features(tmp_path) == []
    assert "is damaged; its" in capsys.readouterr().err


def test_an_interruption_keeps_what_was_computed(tmp_path: Path) -> None:
    images = Images(range(20))

    def interrupted(places: Places) -> Iterator[tuple[Places, Features]]:
        for number, part in enumerate(images(places)):
            if number == 2:
                raise KeyboardInterrupt
            yield part

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, ABOUT, keys_of(range(20)), interrupted)
    assert Images(range(20)).features(tmp_path) == [*range(8, 20)]


def slow(root: Path, numbers: Any) -> None:
    """Compute image by image, and write each of them at once."""
    cache.PART_SECONDS = 0.0
    images = Images(numbers, at_once=1)

    def compute(places: Places) -> Iterator[tuple[Places, Features]]:
        for part in images(places):
            time.sleep(0.005)
            yield part

    cached(root, ABOUT, keys_of(numbers), compute)


@pytest.fixture
def start() -> Any:
    processes = []

    def run(*arguments: Any) -> Any:
        process = multiprocessing.get_context("fork").Process(target=slow, args=arguments)
        process.start()
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.join()


@pytest.mark.filterwarnings("ignore:This process")  # of fork beside threads
def test_a_killed_process_loses_only_what_it_did_not_write(
    tmp_path: Path, start: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(tmp_path, range(200))
    while len(list(tmp_path.rglob("*.npy"))) < 10:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    left = Images(range(200)).features(tmp_path)
    assert 0 < len(left) <= 190
    assert left == [*range(left[0], 200)]
    assert capsys.readouterr().err == ""


@pytest.mark.filterwarnings("ignore:This process")
def test_processes_at_once_do_not_disturb_each_other(tmp_path: Path, start: Any, capsys: pytest.CaptureFixture[str]) -> None:
    others = [start(tmp_path, range(first, first + 40)) for first in (0, 20)]
    for _ in range(20):  # each time it puts their small parts together
        Images(range(60)).features(tmp_path)
    for process in others:
        process.join()
        assert process.exitcode == 0
    assert Images(range(60)).features(tmp_path) == []
    assert capsys.readouterr().err == ""


def test_a_part_that_is_removed_and_written_again_meanwhile_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Images(range(5)).features(tmp_path)
    is_file = Path.is_file
    # It is not there at the first look.
    monkeypatch.setattr(Path, "is_file", lambda path: path.suffix != ".npy" and is_file(path))
    assert Images(range(5)).features(tmp_path) == []
    assert capsys.readouterr().err == ""


def test_small_parts_become_one(tmp_path: Path) -> None:
    for number in range(cache.MOST_SMALL + 1):
        Images([number, number + 1]).features(tmp_path)
        parts = list(tmp_path.rglob("*.npy"))
        assert len(parts) <= cache.MOST_SMALL
    assert len(parts) == 1
    assert len(np.load(parts[0])) == cache.MOST_SMALL + 2
    assert Images(range(cache.MOST_SMALL + 2)).features(tmp_path) == []


def test_what_was_not_used_for_longest_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        Images(range(100)).features(tmp_path, [number])
        for path in tmp_path.rglob("*.npy"):
            os.utime(path, (1e9, path.stat().st_mtime - 100))
    (tmp_path / ".writing-x").write_bytes(b"of a killed process")
    os.utime(tmp_path / ".writing-x", (1e9, 1e9))
    Images(range(100)).features(tmp_path, [0])  # used again
    size = next(tmp_path.rglob("*.npy")).stat().st_size
    monkeypatch.setattr(cache, "MOST_BYTES", 3 * size)
    capsys.readouterr()
    Images(range(100)).features(tmp_path, [4])
    assert "that were not used for longest from" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 3
    assert Images(range(100)).features(tmp_path, [0]) == []
    assert Images(range(100)).features(tmp_path, [1]) == [*range(100)]


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="needs a place where nothing can be written")
def test_where_nothing_can_be_written_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert Images(range(6)).features(Path("/proc/self/none")) == [*range(6)]
    assert capsys.readouterr().err.count("features cannot be kept for the next time") == 1


def test_many_features_are_mapped_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "IN_MEMORY_BYTES", 0)
    Images(range(10)).features(tmp_path)
    found = room(tmp_path, 5, 3)
    assert isinstance(found, np.memmap)
    assert not found.any()
    assert not list(tmp_path.glob("tmp*"))
