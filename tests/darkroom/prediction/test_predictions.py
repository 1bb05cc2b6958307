"""Predictions in three formats agree, survive any name, and start no formula."""

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from darkroom.base.errors import InputError
from darkroom.metrics.decision import Decision
from darkroom.prediction.further_columns import Neighbour
from darkroom.prediction.predictions import SHARED, Predictions, check_out, write_predictions

NAMES = [
    "plain.jpg",
    "=cmd|'/C calc'!A1",
    'a,"b".png',
    "@x",
    "花.png",
    r"line\x0abreak.png",
    "-1+cmd",
    "+2*3",
    "<img onerror=alert(1)>",
]


def predictions(actual: bool = False) -> Predictions:
    scores = np.random.default_rng(0).dirichlet(np.ones(4), len(NAMES))
    classes = ["rose", "=tulip", "c,d", "d"]
    return Predictions(classes, NAMES, scores, [classes[number % 4] for number in range(len(NAMES))] if actual else None)


@pytest.mark.parametrize("actual", [False, True])
def test_the_formats_agree(tmp_path: Path, actual: bool) -> None:
    made = predictions(actual)
    for ending in ("csv", "jsonl", "parquet"):
        write_predictions(tmp_path / f"p.{ending}", made, top_k=3)
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]
    columns = pq.read_table(tmp_path / "p.parquet").to_pydict()
    assert [line["path"] for line in lines] == columns["path"] == NAMES
    assert [row["path"].removeprefix("'") for row in rows] == NAMES
    assert ("actual" in rows[0]) == ("actual" in lines[0]) == ("actual" in columns) == actual
    for number, row in enumerate(rows):
        order = np.argsort(-made.probabilities[number])
        best = [made.classes[label] for label in order[:3]]
        assert [entry["class"] for entry in lines[number]["top"]] == best
        assert [row[key].removeprefix("'") for key in ("class", "class_2", "class_3")] == best
        assert float(row["probability"]) == pytest.approx(columns["probability"][number], abs=5e-5)
        assert [columns[f"p_{name}"][number] for name in made.classes] == made.probabilities[number].tolist()


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", predictions(actual=True), top_k=4)
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for row in csv.reader(file) for cell in row)


def test_batches_are_joined_field_by_field() -> None:
    """A field of `Predictions` is of all images, or lists something of each: one that is new must be one of the two."""
    values = {
        "probabilities": np.random.default_rng(0).random((5, 2)),
        "abstained": np.array([True, False, True, False, False]),
        "foreign": np.arange(5.0),
        "sets": np.ones((5, 2), np.bool_),
        "near": [[Neighbour(str(number), "a", 0.5)] for number in range(5)],
        **{name: [f"{name} {number}" for number in range(5)] for name in ("paths", "actual")},
        "given": [{"x": str(number)} for number in range(5)],
    }
    assert {field.name for field in dataclasses.fields(Predictions)} == {*values, *SHARED}
    whole: Any = Predictions(classes=["a", "b"], multilabel=True, backend={"backend": "torch"}, **values)
    parts = [
        Predictions(classes=["a", "b"], multilabel=True, backend={"backend": "torch"}, **{k: v[start:end] for k, v in values.items()})
        for start, end in ((0, 2), (2, 2), (2, 5))
    ]  # fmt: skip
    joined: Any = Predictions.joined(parts)
    for field in dataclasses.fields(Predictions):
        assert np.array_equal(getattr(joined, field.name), getattr(whole, field.name)), field.name


def test_of_no_nearest_there_are_no_columns_and_names_start_no_formula(tmp_path: Path) -> None:
    near = [[Neighbour("=x.jpg", "=rose", 0.98765), Neighbour("b.jpg", "", 1.0)]]
    made = Predictions(["a"], ["1.png"], np.ones((1, 1)), near=near)
    for ending in ("csv", "jsonl", "parquet"):
        write_predictions(tmp_path / f"p.{ending}", made, top_k=1)
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "path,class,probability,nearest_1,nearest_class_1,similarity_1,nearest_2,nearest_class_2,similarity_2",
        "1.png,a,1.0000,'=x.jpg,'=rose,0.9877,b.jpg,,1.0000",
    ]
    (line,) = (tmp_path / "p.jsonl").read_text().splitlines()
    assert json.loads(line)["nearest"][0] == {"path": "=x.jpg", "class": "=rose", "similarity": 0.98765}
    columns = pq.read_table(tmp_path / "p.parquet").to_pydict()
    assert columns["nearest"] == [["=x.jpg", "b.jpg"]]
    assert columns["similarity"] == [pytest.approx([0.98765, 1])]


def test_fewer_classes_than_places(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.csv", Predictions(["a", "b"], ["x"], np.array([[0.5, 0.5]])), top_k=3)
    assert (tmp_path / "p.csv").read_text() == "path,class,probability,class_2,probability_2\nx,a,0.5000,b,0.5000\n"


def test_bad_places_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    for path, message in (
        (tmp_path / "r.txt", "ends with none of .csv, .jsonl, .parquet"),
        (tmp_path / "no" / "r.csv", "does not exist; create it first"),
        (tmp_path / "d.csv", "is a folder; name a file"),
    ):
        with pytest.raises(InputError) as caught:
            check_out(path)
        assert message in str(caught.value)


def test_what_the_source_says_is_carried_along(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    given = [{"age": "3", "class": "=1+1"}, {"age": "5"}]
    for ending in ("csv", "jsonl", "parquet"):
        write_predictions(tmp_path / f"p.{ending}", Predictions(["a", "b"], ["1.png", "2.png"], scores, None, given), top_k=1)
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "path,class,probability,given_age,given_class",
        "1.png,a,0.9000,3,'=1+1",
        "2.png,b,0.8000,5,",
    ]
    assert [json.loads(line)["given"] for line in (tmp_path / "p.jsonl").read_text().splitlines()] == given
    table = pq.read_table(tmp_path / "p.parquet")
    assert table["given_age"].to_pylist() == ["3", "5"]
    assert table["given_class"].to_pylist() == ["=1+1", None]
    assert table["class"].to_pylist() == ["a", "b"]


def test_several_classes_of_an_image(tmp_path: Path) -> None:
    scores = np.array([[0.9, 0.1, 0.7], [0.2, 0.3, 0.1]])
    made = Predictions(["a", "=b", "c"], ["1.png", "2.png"], scores, ["a; c", ""], multilabel=True)
    for ending in ("csv", "jsonl", "parquet"):
        write_predictions(tmp_path / f"p.{ending}", made, top_k=2)
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "path,actual,classes,class,probability,class_2,probability_2",
        "1.png,a; c,a; c,a,0.9000,c,0.7000",
        "2.png,,,'=b,0.3000,a,0.2000",
    ]
    assert [json.loads(line)["classes"] for line in (tmp_path / "p.jsonl").read_text().splitlines()] == [["a", "c"], []]
    assert pq.read_table(tmp_path / "p.parquet")["classes"].to_pylist() == [["a", "c"], []]


@pytest.mark.parametrize(("threshold", "positive", "expected"), [(0.5, 1, "bba"), (0.7, 1, "baa"), (0.7, 0, "bbb")])
def test_the_predicted_class_of_a_binary_task_comes_first(tmp_path: Path, threshold: float, positive: int, expected: str) -> None:
    scores = np.array([[0.2, 0.8], [0.4, 0.6], [0.6, 0.4]])
    made = Predictions(["a", "b"], ["1", "2", "3"], scores, decision=Decision(threshold, positive))
    write_predictions(tmp_path / "p.csv", made, top_k=3)
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert "".join(row["class"] for row in rows) == expected
    assert [float(row["probability"]) for row in rows] == [
        scores[number, "ab".index(name)] for number, name in enumerate(expected)
    ]
    assert all(row["class_2"] != row["class"] for row in rows)


def test_several_labels_have_a_threshold() -> None:
    scores = np.array([[0.9, 0.3], [0.2, 0.4]])
    for threshold, expected in ((0.5, [["a"], []]), (0.25, [["a", "b"], ["b"]])):
        assert Predictions(["a", "b"], ["1", "2"], scores, multilabel=True, decision=Decision(threshold)).chosen == expected


class Counted(list[dict[str, str]]):
    """A list that knows how often it was passed over."""

    passes = 0

    def __iter__(self) -> Iterator[dict[str, str]]:
        self.passes += 1
        return super().__iter__()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_writing_many_images_passes_over_them_a_few_times(tmp_path: Path, ending: str) -> None:
    many, given = 200, Counted({"site": "A"} for _ in range(200))
    rows = dataclasses.replace(
        predictions(), paths=[f"{number}.png" for number in range(many)], probabilities=np.full((many, 4), 0.25), given=given
    )
    write_predictions(tmp_path / f"many{ending}", rows, 2)
    assert given.passes <= 3
