"""The tables: their content, their order, and names that would break a spreadsheet or a page."""

import csv
from pathlib import Path

import numpy as np
import pytest

from darkroom.evaluation import tables
from darkroom.metrics import scores
from darkroom.metrics.outcomes import Outcomes


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def predictions() -> Outcomes:
    rng = np.random.default_rng(0)
    return Outcomes.of(rng.dirichlet(np.ones(3), size=50), rng.integers(0, 3, 50), bins=10)


IDS = [f"{place}.png" for place in range(50)]


def confused(matrix: np.ndarray) -> Outcomes:
    """Return outcomes with a confusion matrix (K, K)."""
    actual, predicted = (np.repeat(each.ravel(), matrix.ravel()) for each in np.indices(matrix.shape))
    return Outcomes.of(np.eye(len(matrix))[predicted], actual)


def test_all_files_are_written_and_are_the_same_bytes_again(tmp_path: Path, predictions: Outcomes) -> None:
    splits = {"val": predictions, "test": predictions}
    for directory in (tmp_path / "a", tmp_path / "b"):
        tables.write_tables(directory, splits, ["c", "b", "a"], IDS, calibrated=splits)
    names = ["confusion.csv", "mistakes.csv", "per_class.csv", "reliability_test.csv", "reliability_val.csv"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    before, after = (
        [row[:4] for row in read(tmp_path / "a/reliability_val.csv") if row[4] == kind] for kind in ("before", "after")
    )
    assert before == after != []


def test_confusion_begins_with_the_diagonal_in_the_order_of_the_class_list(tmp_path: Path) -> None:
    matrix = np.array([[5, 0, 1], [0, 0, 0], [2, 0, 7]])
    tables.write_confusion(tmp_path / "confusion.csv", confused(matrix), ["zebra", "cat", "ape"])
    assert read(tmp_path / "confusion.csv") == [
        ["actual", "predicted", "count", "num_classes"],
        ["zebra", "zebra", "5", "3"],
        ["cat", "cat", "0", "3"],
        ["ape", "ape", "7", "3"],
        ["ape", "zebra", "2", "3"],
        ["zebra", "ape", "1", "3"],
    ]


def test_per_class_keeps_the_order_of_the_class_list(tmp_path: Path) -> None:
    classes = scores.per_class_scores(Outcomes.of(np.array([[1.0, 0.0], [0.6, 0.4], [0.0, 1.0]]), np.array([0, 1, 1])))
    tables.write_per_class(tmp_path / "per_class.csv", classes, ["zebra", "ape"])
    header, zebra, ape = read(tmp_path / "per_class.csv")
    assert header == ["class", "precision", "recall", "f1", "support"]
    assert (zebra[0], *map(float, zebra[1:])) == ("zebra", 0.5, 1.0, pytest.approx(2 / 3), 1)
    assert (ape[0], *map(float, ape[1:])) == ("ape", 1.0, 0.5, pytest.approx(2 / 3), 2)


def test_reliability_leaves_out_empty_bins(tmp_path: Path) -> None:
    diagram = scores.diagram(Outcomes.of(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]), bins=10))
    tables.write_reliability(tmp_path / "reliability.csv", {"before": diagram})
    header, *rows = read(tmp_path / "reliability.csv")
    assert header == ["bin", "confidence", "accuracy", "count", "calibration"]
    assert [(row[0], float(row[1]), *row[2:]) for row in rows] == [
        ("7", pytest.approx(0.6), "0.0", "1", "before"),  # 0.6 in float32 is above the edge
        ("9", pytest.approx(0.9), "1.0", "1", "before"),
    ]


def test_every_mistake_is_listed_the_most_confident_first(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    ids = ["=1+1.png", "right.png", "<img src=x onerror=alert(1)>"]
    tables.write_mistakes(tmp_path / "m.csv", Outcomes.of(probabilities, np.array([1, 1, 0])), ["=a", "<b>"], ids)
    assert read(tmp_path / "m.csv") == [
        ["id", "true", "predicted", "confidence", "loss"],
        ["'=1+1.png", "\u2039b\u203a", "'=a", "0.9000", "2.3026"],
        ["\u2039img src=x onerror=alert(1)\u203a", "'=a", "\u2039b\u203a", "0.7000", "1.2040"],
    ]
    several = Outcomes.of(np.array([[0.9, 0.8, 0.1]]), np.array([[1, 0, 1]], np.uint8))
    tables.write_mistakes(tmp_path / "m.csv", several, ["a", "b", "c"], ["x"])
    assert read(tmp_path / "m.csv")[1][:3] == ["x", "a; c", "a; b"]


@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-A1", "@SUM(A1)"])
def test_a_name_that_a_spreadsheet_would_run_gets_an_apostrophe(tmp_path: Path, name: str) -> None:
    tables.write_confusion(tmp_path / "confusion.csv", confused(np.eye(2, dtype=np.int64)), [name, "b"])
    assert read(tmp_path / "confusion.csv")[1][:2] == ["'" + name, "'" + name]


@pytest.mark.parametrize("name", ['a,"b"', "naïve é", "花"])
def test_a_name_with_any_other_character_stays_one_cell(tmp_path: Path, name: str) -> None:
    tables.write_confusion(tmp_path / "confusion.csv", confused(np.eye(2, dtype=np.int64)), [name, "b"])
    assert read(tmp_path / "confusion.csv")[1:] == [[name, name, "1", "2"], ["b", "b", "1", "2"]]


@pytest.mark.parametrize("name", ["\tx", "\rx", "two\nlines"])
def test_control_characters_are_escaped(tmp_path: Path, name: str) -> None:
    tables.write_confusion(tmp_path / "confusion.csv", confused(np.eye(2, dtype=np.int64)), [name, "b"])
    assert read(tmp_path / "confusion.csv")[1][0] == repr(name)[1:-1]


def test_a_name_cannot_end_the_script_that_dvc_writes_it_into(tmp_path: Path, predictions: Outcomes) -> None:
    names = ["</script><img src=x onerror=alert(1)>", "<!--", "b"]
    tables.write_tables(tmp_path, {"val": predictions, "test": predictions}, names, IDS)
    assert not any("<" in path.read_text(encoding="utf-8") for path in tmp_path.iterdir())
