"""A pack gives the images that were written, in any process; a damaged one is named before it is used."""

import io
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.base import files
from darkroom.base.errors import InputError, RunError
from darkroom.base.params import DownloadParams
from darkroom.data.images import Decoded
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.sources.pack_writer import write_pack

RAW = [np.full((4, 6), row, np.uint8) for row in range(10)]
ENCODED = [np.full((80, 70 + row, 3), row, np.uint8) for row in range(10)]


@pytest.fixture(params=[RAW, ENCODED], ids=["raw", "encoded"])
def images(request: pytest.FixtureRequest) -> list[Any]:
    chosen: list[Any] = request.param
    return chosen


@pytest.fixture
def raw(root: Path, images: list[Any], download: Callable[..., DownloadParams]) -> Path:
    items = [Item(f"{row}", "train", lambda row=row, image=image: (Decoded(image), row % 2)) for row, image in enumerate(images)]
    directory = root / "data" / "raw"
    directory.mkdir(parents=True)
    write_pack(Listing("set", items, lambda _: ["even", "odd"], {}), directory, download())
    return directory


def test_rows(raw: Path, images: list[Any]) -> None:
    pack = Pack.open(raw)
    assert len(pack) == 10
    assert pack.labels.dtype == np.int64
    assert pack.labels.tolist() == [0, 1] * 5
    assert pack.ids == [str(row) for row in range(10)]
    assert len(set(pack.pixel_hashes)) == 10
    for row, image in enumerate(images):
        np.testing.assert_array_equal(pack[row].squeeze(), image)
        # A copy, which a transform may change.
        pack[row][:] = 0


def test_batches_of_pixels(raw: Path) -> None:
    pack = Pack.open(raw)
    if pack.size:
        batch = pack.batch(np.array([3, 1, 3]))
        assert batch.shape == (3, 4, 6, 1)
        assert batch[:, 0, 0, 0].tolist() == [3, 1, 3]
        assert batch.flags.writeable
        assert type(batch) is np.ndarray


def test_what_is_withheld_cannot_be_read(raw: Path) -> None:
    pack = Pack.open(raw)
    pack.withhold(np.array([2, 5]))
    for copy in (pack, pickle.loads(pickle.dumps(pack))):
        assert copy[3].size
        with pytest.raises(RunError, match="is in the test split, which train must not read"):
            copy[5]
        if copy.size:
            assert len(copy.batch(np.array([0, 1]))) == 2
            with pytest.raises(RunError, match="is in the test split"):
                copy.batch(np.array([0, 2]))


def test_the_file_of_an_image_is_the_one_that_is_stored(raw: Path, images: list[Any]) -> None:
    """What looks at files, such as at their format, gets none where pixels are stored, and none that is withheld."""
    pack = Pack.open(raw)
    pack.withhold(np.array([5]))
    with pytest.raises(RunError, match="is in the test split"):
        pack.file(5)
    file = pack.file(3)
    if pack.is_encoded:
        assert file is not None
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), images[3])
    else:
        assert file is None


def first_value(pack: Pack, row: int, answers: Any) -> None:
    answers.put(int(pack[row][0, 0, 0]))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes(raw: Path, method: str) -> None:
    pack = Pack.open(raw)
    if method == "spawn":
        # What a spawned process does with it, without the second that starting Python takes.
        assert len(pickle.dumps(pack)) < 1000
        assert int(pickle.loads(pickle.dumps(pack))[7][0, 0, 0]) == 7
        return
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    process = context.Process(target=first_value, args=(pack, 7, answers))
    process.start()
    process.join(10)
    assert answers.get() == 7


def test_nothing_there(root: Path) -> None:
    with pytest.raises(InputError, match=r"data/raw: holds no images; run 'dvc repro download', or 'dvc checkout'"):
        Pack.open(root / "data" / "raw")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def changed(key: str, value: Any) -> Callable[[Path], None]:
    def change(raw: Path) -> None:
        path = raw / "dataset.json"
        files.write_sealed_json(path, files.read_sealed_json(path) | {key: value})

    return change


def rehashed(raw: Path, name: str) -> None:
    """Record the hash of a file that was changed, as somebody who means it would."""
    path = raw / "dataset.json"
    dataset = files.read_sealed_json(path)
    files.write_sealed_json(path, dataset | {"files": dataset["files"] | {name: files.sha256(raw / name)}})


def with_index(edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    def change(raw: Path) -> None:
        pq.write_table(edit(pq.ParquetFile(raw / "index.parquet").read()), raw / "index.parquet")
        rehashed(raw, "index.parquet")

    return change


def replaced_column(index: Any, name: str, value: Any) -> Any:
    place = index.schema.get_field_index(name)
    return index.set_column(place, name, pa.array([value] * len(index)))


def written_as(raw: Path, content: bytes) -> None:
    """Make the file of pixels, or the first shard, hold something else."""
    path = next(raw.glob("images*"))
    path.write_bytes(content)
    rehashed(raw, path.name)


def as_pixels(array: np.ndarray) -> Callable[[Path], None]:
    def change(raw: Path) -> None:
        content = io.BytesIO()
        np.save(content, array)
        written_as(raw, content.getvalue())

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: cut(next(raw.glob("images*"))),
        lambda raw: next(raw.glob("images*")).unlink(),
        lambda raw: next(raw.glob("images*")).write_bytes(b""),
        lambda raw: cut(raw / "index.parquet"),
        lambda raw: (raw / "index.parquet").unlink(),
        lambda raw: cut(raw / "dataset.json"),
        lambda raw: (raw / "dataset.json").write_text("[]"),
        changed("count", 11),
        changed("classes", ["even"]),
        changed("classes", {"even": 1, "odd": 2}),
        changed("format", "of another kind"),
        changed("task", "of another kind"),
        changed("channels", 2),
        with_index(lambda index: index.drop_columns(["pixel_hash"])),
        with_index(lambda index: replaced_column(index, "split", "elsewhere")),
        with_index(lambda index: replaced_column(index, "offset" if "offset" in index.schema.names else "split", -1)),
        as_pixels(np.zeros((10, 4, 6), np.uint8)),
        as_pixels(np.zeros((10, 4, 6, 1), np.complex64)),
        lambda raw: written_as(raw, b"\x93NUMPY\x01\x00\x10\x00{'descr': (((  \n"),
    ],
)
def test_damage_is_named(damage: Callable[[Path], None], raw: Path) -> None:
    damage(raw)
    with pytest.raises(InputError, match=r"^data/raw: is damaged .*; run 'dvc checkout', or 'dvc repro --force download'"):
        Pack.open(raw)


def test_a_damaged_image_is_named(raw: Path) -> None:
    path = raw / "images-000.bin"
    if path.exists():
        data = bytearray(path.read_bytes())
        data[:64] = bytes(64)
        path.write_bytes(data)
        with pytest.raises(
            InputError, match=r"data/raw/images-000\.bin: '0' is not a JPEG.*; the file is damaged, run 'dvc checkout'"
        ):
            Pack.open(raw, verify=False)[0]


def test_every_flipped_bit_is_found(raw: Path) -> None:
    numbers = np.random.default_rng(0)
    for path in sorted(raw.iterdir()):
        content = path.read_bytes()
        for place in numbers.integers(0, 8 * len(content), 50):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            with pytest.raises(InputError, match="is damaged"):
                Pack.open(raw)
        path.write_bytes(content)
    Pack.open(raw)


def test_the_files_of_another_set(raw: Path, root: Path) -> None:
    other = root / "other"
    shutil.copytree(raw, other)
    changed("count", 9)(other)
    with pytest.raises(InputError, match="do not match"):
        Pack.open(other)


def test_an_image_is_shown_in_8_bits(raw: Path) -> None:
    pack = Pack.open(raw)
    assert pack.shown(1).dtype == np.uint8
    assert pack.shown(1).ndim == 3


def test_an_image_in_colour_is_no_grey_one(raw: Path) -> None:
    pack = Pack.open(raw)
    if pack.is_encoded:
        pack.channels = 1
        with pytest.raises(InputError, match=r"data/raw: '0' is not grey; the folder is damaged, run 'dvc checkout'"):
            pack.read(0)


def test_pixels_in_sizes_that_they_have_not_are_damage(root: Path, download: Callable[..., DownloadParams]) -> None:
    """Images of several sizes lie one behind the other: a height too many would show the rows of the next one."""
    images = [np.full((4, 5 + row, 3), row, np.uint8) for row in range(3)]
    items = [Item(f"{row}", "train", lambda row=row, image=image: (Decoded(image), row % 2)) for row, image in enumerate(images)]
    raw = root / "data" / "raw"
    raw.mkdir(parents=True)
    write_pack(Listing("set", items, lambda _: ["even", "odd"], {}), raw, download(format="raw"))
    np.testing.assert_array_equal(Pack.open(raw)[1], images[1])
    with_index(lambda index: index.set_column(index.schema.get_field_index("height"), "height", pa.array([4, 5, 4], pa.int32())))(
        raw
    )
    with pytest.raises(InputError, match=r"^data/raw: is damaged .*dataset\.json, the index and the images do not match"):
        Pack.open(raw)
