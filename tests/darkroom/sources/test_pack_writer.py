"""data/raw holds every image once, checked and hashed: the same bytes for the same set, and nothing where something is wrong."""

import io
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams
from darkroom.data.images import Decoded, decode
from darkroom.data.listing import Item, Listing, Sample
from darkroom.data.pack import Pack
from darkroom.sources import pack_files, pack_writer
from darkroom.sources.entries import scan
from darkroom.sources.folder import list_images
from darkroom.sources.pack_writer import pixel_hash, summary, write_pack

Write = Callable[..., Pack]
MakeImage = Callable[..., bytes]


@pytest.fixture
def write(root: Path, download: Callable[..., DownloadParams]) -> Write:
    """Write files as a folder, and pack it into data/raw."""

    def run(content: dict[str, bytes], **changes: Any) -> Pack:
        for name, data in content.items():
            (root / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "set" / name).write_bytes(data)
        params = download(source="folder", folder="set", **changes)
        with files.replaced_dir(root / "data" / "raw") as directory:
            write_pack(list_images({"": scan(root / "set")}, "set", {"source": "folder", "name": "set"}), directory, params)
        return Pack.open(root / "data" / "raw")

    return run


def listing(images: list[np.ndarray[Any, Any]]) -> Listing:
    def item(row: int) -> Item:
        return Item(f"{row:05d}", "train", lambda: (Decoded(images[row]), row % 2))

    return Listing("set", [item(row) for row in range(len(images))], lambda present: [str(label) for label in present], {})


def dataset(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "data" / "raw" / "dataset.json").read_text())
    return content


def test_small_images_become_pixels(write: Write, image: MakeImage, root: Path) -> None:
    content = {f"{split}/{name}/{row}.png": image(row) for split in ("train", "test") for name in "ab" for row in range(3)}
    pack = write(content)
    assert (pack.size, pack.channels, len(pack), pack.classes) == ((8, 8), 3, 12, ["a", "b"])
    assert pack.ids == sorted(content, key=lambda name: (not name.startswith("train"), name))
    for row, name in enumerate(pack.ids):
        np.testing.assert_array_equal(pack[row], decode(content[name], 100).image)
    assert pack.labels.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert pack.splits.tolist() == ["train"] * 6 + ["test"] * 6
    assert dataset(root)["counts"] == {"train": 6, "test": 6}
    assert dataset(root)["counts_per_class"]["test"] == {"a": 3, "b": 3}
    for name, digest in dataset(root)["files"].items():
        assert files.sha256(root / "data" / "raw" / name) == digest


def test_other_images_stay_as_they_were(write: Write, image: MakeImage, root: Path) -> None:
    content = {
        "a/1.png": image(1),
        "a/2.jpg": image(2, (90, 70, 3), "JPEG"),
        "b/3.png": image(3, (5, 7)),
        "b/4.png": image(4, (6, 6, 4)),
    }
    pack = write(content)
    assert (pack.size, pack.channels) == (None, 3)
    assert pack.sizes.tolist() == [[8, 8], [90, 70], [5, 7], [6, 6]]
    raw = (root / "data" / "raw" / "images-000.bin").read_bytes()
    assert raw == b"".join(content[name] for name in pack.ids)
    for row, name in enumerate(pack.ids):
        expected = decode(content[name], 10_000).image
        np.testing.assert_array_equal(pack[row], np.broadcast_to(expected.reshape(*expected.shape[:2], -1), pack[row].shape))
    assert dataset(root)["converted"] == {"alpha": 1}
    assert (dataset(root)["format"], dataset(root)["height"]) == ("encoded", None)


def test_of_an_animation_only_the_first_frame_is_kept(write: Write, root: Path) -> None:
    file = io.BytesIO()
    frames = [Image.new("RGB", (70, 70), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    pack = write({"a/1.gif": file.getvalue(), "b/1.gif": file.getvalue()})
    assert (pack[0] == (255, 0, 0)).all()
    assert (root / "data" / "raw" / "images-000.bin").read_bytes().startswith(b"\x89PNG")
    assert dataset(root)["converted"]["animation"] == 2


@pytest.mark.parametrize("size", [8, 70])
def test_grey_images_have_one_channel_unless_others_have_colour(size: int, write: Write, image: MakeImage) -> None:
    grey = {f"{name}/1.png": image(1, (size, size)) for name in "ab"}
    assert write(grey)[0].shape == (size, size, 1)
    pack = write({"a/2.png": image(2, (size, size, 3))})
    assert pack.channels == 3
    np.testing.assert_array_equal(pack[0], np.repeat(decode(grey["a/1.png"], 10_000).image[..., None], 3, axis=2))


def test_rotated_images_are_packed_upright(write: Write, root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(np.arange(200 * 100, dtype=np.uint32).reshape(100, 200).astype(np.uint8)).save(file, "PNG", exif=exif)
    pack = write({"a/1.png": file.getvalue(), "b/1.png": file.getvalue()})
    assert pack.sizes.tolist() == [[200, 100]] * 2
    assert pack[0].shape == (200, 100, 1)
    assert dataset(root)["converted"] == {"exif_rotated": 2}


def test_the_order_of_the_source_does_not_matter(root: Path, download: Callable[..., DownloadParams]) -> None:
    images = [np.full((4, 4), row % 256, np.uint8) for row in range(300)]
    written = []
    for name, step in (("forward", 1), ("backward", -1)):
        (root / name).mkdir()
        one = listing(images)
        write_pack(Listing("set", one.items[::step], one.name_classes, {}), root / name, download())
        written.append({file.name: file.read_bytes() for file in (root / name).iterdir()})
    assert written[0] == written[1]
    assert sorted(written[0]) == ["dataset.json", "images.npy", "index.parquet"]


def test_bad_images_fail_unless_allowed(write: Write, image: MakeImage, root: Path) -> None:
    content = {"a/1.png": image(1), "a/2.png": b"", "a/notes.txt": b"words", "b/1.png": image(2), "b/2.png": image(3)[:60]}
    with pytest.raises(InputError) as caught:
        write(content, max_bad=2)
    assert str(caught.value).startswith(
        "set: 3 unreadable image(s), but download.max_bad is 2 ('a/2.png' is empty; 'a/notes.txt' is not a JPEG, PNG,"
    )
    assert str(caught.value).endswith("fix or remove them, or set download.max_bad to 3 to skip them")
    assert not (root / "data" / "raw").exists()
    assert len(write({}, max_bad=3)) == 2
    assert [each["id"] for each in dataset(root)["skipped"]] == ["a/2.png", "a/notes.txt", "b/2.png"]
    assert dataset(root)["skipped"][0]["reason"] == "is empty"
    assert summary(dataset(root), root / "data" / "raw").endswith("; 3 skipped, see dataset.json")


def test_a_bomb_is_a_bad_image(write: Write, image: MakeImage) -> None:
    with pytest.raises(InputError, match=r"'b/1\.png' has 30 x 20 pixels, more than max_pixels \(100\)"):
        write({"a/1.png": image(1), "b/1.png": image(1, (20, 30))}, max_pixels=100)


def test_a_class_that_lost_all_its_images(write: Write, image: MakeImage) -> None:
    with pytest.raises(InputError, match="set: no image of class 'b' can be read"):
        write({"a/1.png": image(1), "b/1.png": b""}, max_bad=1)


def test_no_image_at_all(write: Write) -> None:
    with pytest.raises(InputError, match="set: holds no image that can be read; add images"):
        write({"a/1.png": b"", "b/1.png": b""}, max_bad=2)


def test_labels_that_do_not_occur_leave_no_class(root: Path, download: Callable[..., DownloadParams]) -> None:
    (root / "raw").mkdir()
    items = [Item(str(label), "train", lambda label=label: (Decoded(np.zeros((2, 2), np.uint8)), label)) for label in (7, 3, 7)]
    write_pack(Listing("set", items, lambda present: [f"class {label}" for label in present], {}), root / "raw", download())
    pack = Pack.open(root / "raw")
    assert (pack.classes, sorted(pack.labels.tolist())) == (["class 3", "class 7"], [0, 1, 1])


def test_equal_pixels_have_equal_hashes() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    colour = np.dstack([grey] * 3)
    assert pixel_hash(grey) == pixel_hash(colour) != pixel_hash(grey.reshape(2, 8))
    colour[3, 3, 2] += 1
    assert pixel_hash(colour) != pixel_hash(grey)
    assert len(pixel_hash(grey)) == 16


def test_errors_of_a_source_stop_the_packing(root: Path, download: Callable[..., DownloadParams]) -> None:
    def refuse() -> Any:
        raise InputError("no classes here")

    items = [Item(f"{row:04d}", "train", refuse) for row in range(2000)]
    with pytest.raises(InputError, match="no classes here"):
        write_pack(Listing("set", items, lambda _: [], {}), root, download())


def photo(width: int, height: int, seed: int, kind: str = "JPEG") -> bytes:
    """Return an encoded image of soft noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def test_larger_images_are_resized_and_smaller_ones_stay_as_they_are(write: Write, root: Path) -> None:
    content = {
        "a/large.jpg": photo(400, 300, 0),
        "a/tall.png": photo(90, 300, 1, "PNG"),
        "b/exact.jpg": photo(100, 60, 2),
        "b/small.png": photo(50, 40, 3, "PNG"),
    }
    pack = write(content, resize=60)
    sizes = dict(zip(pack.ids, map(tuple, pack.sizes.tolist()), strict=True))
    assert sizes == {"a/large.jpg": (60, 80), "a/tall.png": (200, 60), "b/exact.jpg": (60, 100), "b/small.png": (40, 50)}
    assert (dataset(root)["format"], dataset(root)["resize"], pack.resize) == ("encoded", 60, 60)
    packed = (root / "data" / "raw" / "images-000.bin").read_bytes()
    for name in ("b/exact.jpg", "b/small.png"):
        assert content[name] in packed
        assert np.array_equal(pack[pack.ids.index(name)], decode(content[name], 10**6).image)
    large = Image.open(io.BytesIO(content["a/large.jpg"])).resize((80, 60), Image.Resampling.BICUBIC)
    assert np.abs(pack[0].astype(int) - np.asarray(large)).mean() < 10
    tall = Image.open(io.BytesIO(content["a/tall.png"])).resize((60, 200), Image.Resampling.BICUBIC)
    assert np.array_equal(pack[1], np.asarray(tall))


def test_resized_to_one_size_small_images_become_pixels(write: Write) -> None:
    pack = write({f"{name}/{row}.jpg": photo(320, 320, row) for name in "ab" for row in range(3)}, resize=32)
    assert pack.size == (32, 32)


def test_pixels_of_many_sizes(write: Write, root: Path) -> None:
    grey = io.BytesIO()
    Image.fromarray(np.arange(63, dtype=np.uint8).reshape(7, 9)).save(grey, "PNG")
    content = {"a/1.png": photo(90, 70, 0, "PNG"), "a/2.png": photo(20, 30, 1, "PNG"), "b/1.png": grey.getvalue()}
    pack = write(content, format="raw")
    assert (pack.size, pack.channels, dataset(root)["format"]) == (None, 3, "raw")
    assert (root / "data" / "raw" / "images-000.bin").stat().st_size == 90 * 70 * 3 + 20 * 30 * 3 + 63
    for row, name in enumerate(pack.ids):
        expected = decode(content[name], 10**6).image
        assert np.array_equal(pack[row], np.broadcast_to(expected.reshape(*expected.shape[:2], -1), (*expected.shape[:2], 3)))


def test_formats_can_be_chosen(write: Write) -> None:
    content = {f"{name}/{row}.png": photo(100, 100, row, "PNG") for name in "ab" for row in range(2)}
    assert write(content).size is None
    assert write(content, format="raw").size == (100, 100)
    small = {f"{name}/{row}.png": photo(20, 20, row, "PNG") for name in "ab" for row in range(2)}
    assert write(small, format="encoded").size is None


def test_large_jpegs_are_read_at_reduced_size(write: Write) -> None:
    content = {"a/1.jpg": photo(1600, 1200, 0), "b/1.jpg": photo(1600, 1200, 1), "b/2.png": photo(1600, 1200, 2, "PNG")}
    pack = write(content)
    assert pack.read(0, side=100).shape == (300, 400, 3)
    assert pack.read(0, side=200).shape == (600, 800, 3)
    assert pack.read(0, side=900).shape == pack[0].shape == pack.read(2, side=100).shape == (1200, 1600, 3)


def test_one_image_more_changes_one_file(write: Write, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_files, "SHARD_BYTES", 20_000)
    content = {f"{name}/{row:03d}.jpg": photo(70, 70, row) for name in "ab" for row in range(60)}

    def digests() -> set[str]:
        return {files.sha256(path) for path in (root / "data" / "raw").glob("images-*.bin")}

    pack = write(content)
    before = digests()
    assert len(before) > 5
    assert all(np.array_equal(pack[row], decode(content[name], 10**6).image) for row, name in enumerate(pack.ids))
    added = write({"a/030b.jpg": photo(70, 70, 1000)})
    assert added.ids[31] == "a/030b.jpg"
    assert len(digests() - before) == 1
    (root / "set" / "a" / "030b.jpg").rename(root / "set" / "b" / "030b.jpg")
    moved = write({})
    assert moved.labels.tolist() == [0] * 60 + [1] * 61
    assert len(digests() - before) == 1


def test_items_that_were_handed_out_are_read_after_the_last_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_writer, "READERS", 1)

    def read(number: int) -> Sample:
        time.sleep(0.02)
        return b"image", number

    items = [Item(str(number), "train", partial(read, number)) for number in range(6)]
    handed_out = list(pack_writer._read_ahead(items, remote=True))
    assert [item.read() for item in handed_out] == [(b"image", number) for number in range(6)]
