from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from darkroom.metrics.decision import Decision
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.predictions_file import About, EvaluatedSplit, read_predictions
from darkroom.metrics.predictions_writer import KEPT, ImagesOf, PredictionsWriter
from darkroom.metrics.scores import score_of

HOSTILE = ["<img src=x onerror=alert(1)>", "=1+1.png", "a\nb"]


def written(path: Path, about: About, parts: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, EvaluatedSplit]:
    with PredictionsWriter(path, about) as writer:
        for split, batches in parts.items():
            for labels, probabilities in batches:
                names = [f"{split} {HOSTILE[row % 3]} {row}" for row in range(len(labels))]
                columns = {"group": [f"g{row}" for row in range(len(labels))], "given_camera": [None] * len(labels)}
                writer.add(split, ImagesOf(names, [name.encode()[:16] for name in names], labels, columns), probabilities)
    return read_predictions(path)


def softmax(rng: np.random.Generator, images: int, classes: int) -> np.ndarray:
    raw = np.exp(rng.normal(size=(images, classes)) * 3)
    return raw / raw.sum(axis=1, keepdims=True)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 4, 20), softmax(rng, 20, 4)
    about = About([*HOSTILE, "d"], "multiclass", Decision(), ("group", "given_camera"))
    parts = {
        "val": [(labels[:5], probabilities[:5])],
        "test": [(labels[5:9], probabilities[5:9]), (labels[9:], probabilities[9:])],
    }
    found = written(tmp_path / "a.parquet", about, parts)
    assert list(found) == ["val", "test"]
    assert [len(each) for each in found.values()] == [5, 15]
    test = found["test"]
    assert (test.classes, test.task, test.decision) == (about.classes, "multiclass", Decision())
    assert test.ids[0] == f"test {HOSTILE[0]} 0"
    np.testing.assert_array_equal(test.labels, labels[5:])
    np.testing.assert_array_equal(test.right, Outcomes.of(probabilities[5:], labels[5:]).right)
    np.testing.assert_array_equal(test.confidence, probabilities[5:].max(axis=1))
    np.testing.assert_allclose(test.probabilities, probabilities[5:], rtol=1e-6)
    assert test.losses.mean() == pytest.approx(score_of(Outcomes.of(probabilities[5:], labels[5:], bins=10))["loss"], rel=1e-12)
    assert test.columns["group"][:2] == ["g0", "g1"]
    assert set(test.columns["given_camera"]) == {None}
    assert read_predictions((tmp_path / "a.parquet").read_bytes())["val"].ids == found["val"].ids
    written(tmp_path / "b.parquet", about, parts)
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_of_many_classes_the_largest_probabilities_and_the_label_s_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    probabilities = softmax(rng, 6, 1200)
    labels = probabilities.argmin(axis=1)
    found = written(
        tmp_path / "a.parquet", About(list(map(str, range(1200))), "multiclass", Decision()), {"test": [(labels, probabilities)]}
    )
    dense = found["test"].probabilities
    assert (np.count_nonzero(dense, axis=1) == KEPT + 1).all()
    np.testing.assert_allclose(dense.max(axis=1), probabilities.max(axis=1), rtol=1e-6)
    np.testing.assert_allclose(dense[np.arange(6), labels], probabilities.min(axis=1), rtol=1e-6)


def test_of_a_binary_task_the_threshold_decides(tmp_path: Path) -> None:
    probabilities = np.array([[0.4, 0.6], [0.2, 0.8]])
    about = About(["no", "yes"], "binary", Decision(0.7, 1))
    found = written(tmp_path / "a.parquet", about, {"test": [(np.array([1, 1]), probabilities)]})["test"]
    assert found.predicted.tolist() == [0, 1]
    assert found.confidence.tolist() == [0.4, 0.8]


def test_an_image_may_have_any_number_of_classes(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.2, 0.3], [0.1, 0.2, 0.3]])
    about = About(["a", "b", "c"], "multilabel", Decision(0.25))
    found = written(tmp_path / "a.parquet", about, {"test": [(labels, probabilities)]})["test"]
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.predicted, [[1, 0, 1], [0, 0, 1]])
    assert found.right.tolist() == [True, False]
    assert found.confidence.tolist() == [0.3, 0.3]


@pytest.mark.parametrize("content", [b"", b"no table", None])
def test_another_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    if content is None:
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"split": ["test"]}), tmp_path / "other.parquet")
        content = (tmp_path / "other.parquet").read_bytes()
    with pytest.raises(ValueError, match=r"\w"):
        read_predictions(content)
