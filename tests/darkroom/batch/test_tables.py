"""Which class a table says of an image: never one that was predicted. The tables are those that Darkroom itself writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.base.params import Columns
from darkroom.batch.tables import iterate_table
from darkroom.prediction.predictions import Predictions, write_predictions

UNSET: dict[str, Any] = {"path": None, "label": None, "group": None, "split": None, "separator": None}


def labels(table: Path, **changes: Any) -> list[str | None]:
    return [row.label for row in iterate_table(table, Columns(**{**UNSET, **changes}))]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("label", [None, "class", "classes", "most_probable"])
@pytest.mark.parametrize("kind", ["plain", "abstains", "several"])
def test_what_was_predicted_is_no_truth(ending: str, label: str | None, kind: str, tmp_path: Path) -> None:
    """`download.columns.label` is of the table that was trained on, not of this one."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    further: dict[str, Any] = {
        "plain": {},
        "abstains": {"abstained": np.array([True, False]), "sets": probabilities > 0.15},
        "several": {"multilabel": True},
    }[kind]
    predicted = Predictions(["rose", "daisy"], ["a.png", "b.png"], probabilities, **further)
    place = tmp_path / f"predicted.{ending}"
    write_predictions(place, predicted, 2)
    assert labels(place, label=label) == [None, None]
    known = Predictions(["rose", "daisy"], ["a.png", "b.png"], probabilities, actual=["daisy", ""], **further)
    write_predictions(place, known, 2)
    assert labels(place, label=label) == ["daisy", None]


def test_a_spreadsheet_may_have_changed_capitals(tmp_path: Path) -> None:
    place = tmp_path / "saved.csv"
    place.write_text("Path;Class;Most Probable;Probability\na.png;rose;rose;0,9\n")
    assert labels(place) == labels(place, label="Most Probable") == [None]


def test_what_a_person_adds_to_a_table_of_predictions_is_a_label(tmp_path: Path) -> None:
    place = tmp_path / "reviewed.csv"
    place.write_text("path,class,probability,label\na.png,rose,0.9,daisy\n")
    assert labels(place) == ["daisy"]
    place.write_text("path,class,probability,checked\na.png,rose,0.9,daisy\n")
    assert labels(place, label="checked") == ["daisy"]


@pytest.mark.parametrize("column", ["class", "category", "species"])
def test_a_table_that_nobody_predicted_is_taken_by_its_usual_names(column: str, tmp_path: Path) -> None:
    place = tmp_path / "own.csv"
    place.write_text(f"path,{column}\na.png,rose\n")
    assert labels(place) == ["rose"]
    place = tmp_path / "own.jsonl"
    place.write_text(json.dumps({"path": "a.png", column: "rose"}) + "\n")
    assert labels(place) == ["rose"]
    place = tmp_path / "own.parquet"
    pq.write_table(pa.table({"path": ["a.png"], column: ["rose"]}), place)
    assert labels(place) == ["rose"]


def test_a_table_of_labels_next_says_what_a_person_filled_in(tmp_path: Path) -> None:
    place = tmp_path / "labels.csv"
    place.write_text("number,path,label,proposed,probability,why\n1,a.png,daisy,rose,0.9,typical\n2,b.png,,rose,0.9,typical\n")
    assert labels(place) == ["daisy", None]


def test_a_table_of_corrections_says_what_a_person_decided(tmp_path: Path) -> None:
    place = tmp_path / "corrected.csv"
    place.write_text("id,given,proposed,confidence,label,note\na.png,rose,tulip,0.9,daisy,\n")
    assert labels(place, path="id") == ["daisy"]


def test_a_collected_table_says_what_a_person_chose(tmp_path: Path) -> None:
    place = tmp_path / "manifest.csv"
    place.write_text("path,label,predicted,probability,weights_sha256\na.png,daisy,rose,0.9,00\n")
    assert labels(place) == ["daisy"]
