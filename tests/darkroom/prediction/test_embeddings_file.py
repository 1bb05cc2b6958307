"""Embeddings as Parquet: what is written is read again, by this program and by others, in bounded memory."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.base.errors import InputError
from darkroom.prediction import embeddings_file
from darkroom.prediction.embeddings_file import Embeddings, EmbeddingsFile, FeaturesOf, writing_embeddings
from darkroom.prediction.predictions import Predictions

OF = FeaturesOf("models", "SmallCNN", "ab" * 32, pooled=True)
CLASSES = ["花", "=x"]
ROOT = Path(__file__).resolve().parents[3]


def part(first: int, count: int, size: int = 5, **more: Any) -> Predictions:
    numbers = np.random.default_rng(first)
    values = numbers.normal(size=(count, size)).astype(np.float32)
    scores = numbers.dirichlet(np.ones(len(CLASSES)), count)
    names = [f"{number}.jpg" for number in range(first, first + count)]
    return Predictions(CLASSES, names, scores, embeddings=Embeddings(values, OF), **more)


def write(path: Path, *parts: Predictions) -> None:
    write_parts(path, parts)


def write_parts(path: Path, parts: Iterable[Predictions]) -> None:
    count = 0
    with writing_embeddings(path) as writer:
        for each in parts:
            writer.add(each)
            count += len(each.paths)
    assert writer.count == count


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings_file, "MOST_BYTES", 4 * 5 * 4)  # 4 images
    parts = [part(0, 3), part(3, 1), part(4, 7)]
    write(tmp_path / "f.parquet", *parts)
    found = EmbeddingsFile(tmp_path / "f.parquet", "--among")
    values = np.concatenate([each.embeddings.values for each in parts if each.embeddings])
    assert (len(found), found.num_features, found.of) == (11, 5, OF)
    assert [len(each) for each in found.blocks()] == [4, 4, 3]
    assert np.array_equal(np.concatenate(list(found.blocks())), values)
    assert found.column("path") == [f"{number}.jpg" for number in range(11)]
    first = [each for one in parts for each in one.most_probable(1)]
    assert found.labels() == found.column("class") == [top[0][0] for top in first]
    assert found.column("probability") == [top[0][1] for top in first]


def test_the_bytes_do_not_depend_on_the_batches(tmp_path: Path) -> None:
    whole = part(0, 10)
    write(tmp_path / "a.parquet", whole)
    halves = []
    for start, end in ((0, 3), (3, 10)):
        assert whole.embeddings is not None
        values = Embeddings(whole.embeddings.values[start:end], OF)
        halves.append(Predictions(CLASSES, whole.paths[start:end], whole.probabilities[start:end], embeddings=values))
    write(tmp_path / "b.parquet", *halves)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_others_read_it(tmp_path: Path) -> None:
    made = part(0, 6, actual=list("abcdef"))
    write(tmp_path / "f.parquet", made)
    assert made.embeddings is not None
    table = pq.read_table(tmp_path / "f.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 5)
    assert table.column_names == ["path", "actual", "class", "probability", "embedding"]
    described = json.loads(table.schema.metadata[b"darkroom"])
    assert described == {
        "format": 1, "model": "models", "network": "SmallCNN", "weights_sha256": "ab" * 32, "pooled": True,
        "unit_length": False, "num_features": 5,
    }  # fmt: skip
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(tmp_path / "f.parquet")
    assert np.array_equal(np.stack(frame["embedding"]), made.embeddings.values)
    assert frame["class"].tolist() == table["class"].to_pylist()


def test_duckdb_reads_it(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    write(tmp_path / "f.parquet", part(0, 6))
    (row,) = duckdb.sql(f"select count(*), max(len(embedding)) from '{tmp_path}/f.parquet'").fetchall()
    assert row == (6, 5)


def test_of_several_labels_all_are_named(tmp_path: Path) -> None:
    write(tmp_path / "f.parquet", Predictions(CLASSES, ["a", "b"], np.array([[0.9, 0.8], [0.1, 0.2]]), multilabel=True,
                                              embeddings=Embeddings(np.ones((2, 3), np.float32), OF)))  # fmt: skip
    assert EmbeddingsFile(tmp_path / "f.parquet", "--among").labels() == ["花; =x", ""]


def test_without_classes_there_are_none(tmp_path: Path) -> None:
    made = Predictions([], ["a"], np.zeros((1, 0)), embeddings=Embeddings(np.ones((1, 3), np.float32), OF))
    write(tmp_path / "f.parquet", made)
    found = EmbeddingsFile(tmp_path / "f.parquet", "--among")
    assert found.labels() == [""]
    assert found.names == {"path", "embedding"}


def test_no_images_are_a_file_too(tmp_path: Path) -> None:
    write(tmp_path / "f.parquet", part(0, 0, size=0))
    assert len(EmbeddingsFile(tmp_path / "f.parquet", "--among")) == 0


def test_a_failure_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "f.parquet").write_bytes(b"before")

    def parts() -> Iterator[Predictions]:
        yield part(0, 3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_parts(tmp_path / "f.parquet", parts())
    assert [path.name for path in tmp_path.iterdir()] == ["f.parquet"]
    assert (tmp_path / "f.parquet").read_bytes() == b"before"


def test_what_is_no_such_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    with pytest.raises(InputError, match=r"^--among: .*f\.parquet does not exist; write it with"):
        EmbeddingsFile(path, "--among")
    path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"^--among: .*f\.parquet: holds no embeddings of this program .*; write it again"):
        EmbeddingsFile(path, "--among")
    pq.write_table(pa.table({"path": ["a"]}), path)
    with pytest.raises(
        InputError, match=r"^--among: .*: holds no embeddings of this program \(it does not say of which network "
    ):
        EmbeddingsFile(path, "--among")


def test_a_changed_byte_is_seen(tmp_path: Path) -> None:
    write(tmp_path / "whole", part(0, 3000))
    column = pq.read_metadata(tmp_path / "whole").row_group(0).column(3)
    assert column.path_in_schema == "embedding.list.element"
    first, count = column.data_page_offset, column.total_compressed_size
    for place in range(first, first + count, count // 20):
        data = bytearray((tmp_path / "whole").read_bytes())
        data[place] ^= 4
        (tmp_path / "f.parquet").write_bytes(data)
        with pytest.raises(InputError, match=r"^--among: .*: holds no embeddings"):
            list(EmbeddingsFile(tmp_path / "f.parquet", "--among").blocks())


MEMORY = """
import resource, sys
from pathlib import Path
sys.path[:0] = [{src!r}, {tests!r}]
import numpy as np, pyarrow.parquet
from test_embeddings_file import part
from darkroom.prediction.embeddings_file import EmbeddingsFile, writing_embeddings
path = Path(sys.argv[1])
with writing_embeddings(path) as writer:
    writer.add(part(0, 100, 1280))
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with writing_embeddings(path) as writer:
    for number in range(int(sys.argv[2])):
        writer.add(part(1000 * number, 1000, 1280))
for block in EmbeddingsFile(path, "").blocks():
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1000)
"""


@pytest.mark.thorough
@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    code = MEMORY.format(src=str(ROOT / "src"), tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(tmp_path / "f.parquet"), "60"]
    megabytes = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert megabytes < 230  # 150 here, as with 20 000 images; 60 000 have 307 MB
