"""Images named for prediction are found, read in order, and counted when they cannot be read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.images import decode
from darkroom.data.resizing import fit, resize
from darkroom.inference.photos import PhotoReader, Photos
from darkroom.prediction.find_photos import find_photos


def test_folders_are_searched_and_files_taken_as_named(
    tmp_path: Path, image: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (
        "b/z.png",
        "b/a.JPG",
        "b/deep/c.webp",
        "b/.hidden.png",
        "b/.git/x.png",
        "b/notes.txt",
        "odd.name",
        "b/@eaDir/z.png/t.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(image())
    (tmp_path / "b" / "__MACOSX").mkdir()
    (tmp_path / "b" / "__MACOSX" / "z.png").write_bytes(image())
    (tmp_path / "b" / "loop").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "link.png").symlink_to(tmp_path / "odd.name")
    (tmp_path / "b" / "dangling.png").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "b" / "fifo.png")
    found = find_photos([tmp_path / "odd.name", tmp_path / "b"])
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "odd.name",
        "b/a.JPG",
        "b/deep/c.webp",
        "b/link.png",
        "b/z.png",
    ]
    assert capsys.readouterr().err == (
        f"warning: {tmp_path}/b: 4 files ('dangling.png' is a broken link, 'fifo.png' is no regular file, 'loop' is a link to a folder, "
        "'notes.txt' is no image by its ending .txt) are left out\n"
    )


def test_what_is_left_out_is_named(tmp_path: Path, image: Callable[..., bytes], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(image())
    (tmp_path / "deep").mkdir()
    for name in ("deep/IMG.HEIC", *(f"{number:02}.txt" for number in range(11))):
        (tmp_path / name).write_bytes(b"")
    assert find_photos([tmp_path]) == [tmp_path / "a.png"]
    said = capsys.readouterr().err
    assert "12 files ('00.txt' is no image by its ending .txt, " in said
    assert "and 2 more) are left out" in said
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"holds no image \(.*\), only 12 files \('00\.txt'"):
        find_photos([tmp_path])


def test_what_cannot_be_found_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name, message in (("nothing.jpg", "does not exist"), ("empty", "holds no image"), ("fifo", "is no file or folder")):
        with pytest.raises(InputError, match=message):
            find_photos([tmp_path / name])


def photos_of(paths: list[Path], make_params: Callable[..., Params], **changes: Any) -> Photos:
    params = make_params({f"predict.{key}": value for key, value in changes.items()}).predict
    return Photos(paths, params, PhotoReader(image_size=6, channels=3))


def test_batches_are_the_fitted_images_in_order(
    tmp_path: Path, image: Callable[..., bytes], make_params: Callable[..., Params]
) -> None:
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(image(number, (9 + number, 12, 3)))
    photos = photos_of(paths, make_params, batch_size=2)
    batches = list(photos)
    assert [batch.shape for batch in batches] == [(2, 6, 6, 3), (2, 6, 6, 3), (1, 6, 6, 3)]
    expected = [fit(decode(path.read_bytes(), 10**6).image, 6, 3) for path in paths]
    assert np.array_equal(np.concatenate(batches), np.stack(expected))
    assert photos.read == paths


def test_unreadable_images_are_counted_and_named(
    tmp_path: Path, image: Callable[..., bytes], make_params: Callable[..., Params]
) -> None:
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    paths[0].write_bytes(image())
    paths[1].write_bytes(image()[:50])
    paths[2].write_bytes(b"")
    photos = photos_of(paths, make_params, batch_size=2)
    assert sum(len(batch) for batch in photos) == 1
    assert [path for path, _ in photos.bad] == paths[1:]
    photos.check(max_bad=2)
    with pytest.raises(
        InputError, match=r"b\.png: cannot be read \(.*\) \(and 1 more\); fix or remove it, or raise predict\.max_bad"
    ):
        photos.check(max_bad=1)


def test_photos_are_resized_as_those_of_the_training_were(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    params = make_params().predict
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    (plain,) = Photos([tmp_path / "a.png"], params, PhotoReader(image_size=50, channels=3))
    (twice,) = Photos([tmp_path / "a.png"], params, PhotoReader(image_size=50, channels=3, resize=60))
    expected = fit(resize(noise, 60), 50, 3)
    assert np.array_equal(twice[0], expected)
    assert not np.array_equal(plain, twice)


def test_a_file_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / "a" / name).touch()
    (tmp_path / "b").symlink_to("a")
    found = [Path("a/1.jpg"), Path("a/2.jpg")]
    assert find_photos(["a"]) == found
    assert capsys.readouterr().err == ""
    assert find_photos(["a", "a/1.jpg", tmp_path / "a/2.jpg", "b"]) == found
    assert capsys.readouterr().err == "warning: a/1.jpg: is named more than once (and 3 more), and taken once\n"
