"""A file is known by what its writer puts there: each writer's file is its command's, and nobody else's."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.base import files
from darkroom.comparison.markdown import markdown
from darkroom.drift import page as drift_page
from darkroom.explanation.results import make_page as explained
from darkroom.export.speed_table import FORM, MEASURES, PLOTS
from darkroom.history.exports import OF_ROW
from darkroom.labels.curve import HEADER as CURVE
from darkroom.labels.next_table import COLUMNS as ASKED
from darkroom.labels.table import HEADER as DOUBTFUL
from darkroom.model_choice.table import COLUMNS as NETWORKS
from darkroom.outputs.marks import FOLDERS, TABLES, UNREADABLE, wrote
from darkroom.pages.document import page
from darkroom.prediction.embeddings_file import Embeddings, FeaturesOf, writing_embeddings
from darkroom.prediction.further_columns import Neighbour
from darkroom.prediction.predictions import WRITERS, Predictions, write_predictions
from darkroom.reporting.sheets import save_sheet
from darkroom.serving.collected import CORRECTIONS_COLUMNS, MANIFEST_COLUMNS
from darkroom.versions.report import COLUMNS as CHANGES

PREDICT = "./darkroom predict"
PLAIN = Predictions(["a|b", "c,d"], ["x.png", "y.png"], np.array([[0.2, 0.8], [0.6, 0.4]]))
NEAR = [[Neighbour("one.png", "a", 0.9), Neighbour("two.png", "b", 0.8)]] * 2
KINDS = {
    "plain": PLAIN,
    "known": replace(PLAIN, actual=["a|b", ""]),
    "several": replace(PLAIN, multilabel=True, actual=["a|b", ""]),
    "doubtful": replace(PLAIN, abstained=np.array([True, False]), foreign=np.array([0.1, 2]), sets=np.ones((2, 2), bool)),
    "near": replace(PLAIN, near=NEAR),
    "given": replace(PLAIN, given=[{"a, b": "1"}, {"c|d": "2"}]),
    "unnamed": Predictions([], ["x.png", "y.png"], np.zeros((2, 0)), near=NEAR),
}


def write_header(path: Path, names: Any, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows([list(names), ["1"] * len(names)])
    return path


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [1, 2])
def test_predictions_are_those_of_predict(tmp_path: Path, kind: str, ending: str, top_k: int) -> None:
    path = tmp_path / f"p{ending}"
    write_predictions(path, KINDS[kind], top_k)
    assert wrote(PREDICT, path)
    assert not any(wrote(command, path) for command in TABLES if command != PREDICT)


def test_embeddings_are_those_of_predict(tmp_path: Path) -> None:
    features = Embeddings(np.zeros((2, 3), np.float32), FeaturesOf("m", "n", "0"))
    for number, made in enumerate((PLAIN, Predictions([], ["x", "y"], np.zeros((2, 0))))):
        with writing_embeddings(tmp_path / f"{number}.parquet") as writer:
            writer.add(replace(made, embeddings=features))
        assert wrote(PREDICT, tmp_path / f"{number}.parquet")


HEADERS = {
    "./darkroom drift": ["path", "distance", "p", "foreign", "same_as", "confidence", "predicted"],
    "./darkroom labels check": DOUBTFUL,
    "./darkroom labels next": ASKED,
    "./darkroom labels curve": CURVE,
    "./darkroom find": NETWORKS,
    "./darkroom show": [*OF_ROW, "val.accuracy", "lr", "inputs", "faults"],
    "./darkroom compare": CHANGES,
    "./darkroom evaluate": ["model", "data", "left_out", "images", "metrics", "backend"],
}


@pytest.mark.parametrize("command", HEADERS)
def test_tables_are_those_of_their_command_alone(tmp_path: Path, command: str) -> None:
    """Also with a byte order mark, and as a spreadsheet of another country saves them."""
    path = write_header(tmp_path / "t.csv", HEADERS[command])
    assert [each for each in TABLES if wrote(each, path)] == [command]
    assert wrote(command, write_header(path, HEADERS[command], ";", "utf-8-sig"))
    assert {*HEADERS, PREDICT} == {*TABLES}


def test_a_table_with_a_column_of_somebody_is_somebody_s(tmp_path: Path) -> None:
    for command, names in HEADERS.items():
        path = write_header(tmp_path / "t.csv", [*names, "my remarks"])
        assert wrote(command, path) == (command == "./darkroom labels next"), command  # which keeps it


def test_tables_in_folders() -> None:
    import re

    speed, serve = FOLDERS["./darkroom find speed"], FOLDERS["./darkroom serve"]
    assert re.fullmatch(speed["speed.csv"], "|".join(["form", "batch_size", *MEASURES, *FORM, "threads"]))
    assert re.fullmatch(speed["dvc.yaml"], PLOTS.splitlines()[0])
    assert re.fullmatch(serve["manifest.csv"], "|".join(MANIFEST_COLUMNS))
    assert re.fullmatch(serve["corrections.csv"], "|".join(CORRECTIONS_COLUMNS))
    assert re.fullmatch(UNREADABLE, "path|reason")


def test_json_of_evaluate(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    files.write_json(path, {"model": "models", "images": {}, "metrics": {}, "backend": {}})
    assert wrote("./darkroom evaluate", path)
    files.write_json(path, {"model": "models", "metrics": {}})
    assert not wrote("./darkroom evaluate", path)


def test_pages_sheets_and_markdown_say_who_wrote_them(tmp_path: Path) -> None:
    html, png, text = tmp_path / "a.html", tmp_path / "a.png", tmp_path / "a.txt"
    files.write_text(html, page("T", by=PREDICT))
    save_sheet(png, Image.new("RGB", (9, 9)), PREDICT)
    files.write_text(text, markdown([], []))
    for path, writer in ((html, PREDICT), (png, PREDICT), (text, "./darkroom compare")):
        assert [each for each in [*TABLES, "./darkroom report"] if wrote(each, path)] == [writer]
    files.write_text(html, explained([], "m"))
    assert wrote("./darkroom explain", html)


def test_the_page_of_drift_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("table", "_classes"):
        monkeypatch.setattr(drift_page, name, lambda *_, **__: None)
    monkeypatch.setattr(drift_page, "in_order", lambda _: [])
    monkeypatch.setattr(
        drift_page, "words", SimpleNamespace(HEADER=[], row=None, answer=lambda _: "no", foreign=lambda _: "none")
    )
    drift_page.write_page(tmp_path / "d.html", SimpleNamespace(judgement=SimpleNamespace(findings=[]), paths=[], notes=[]))  # type: ignore[arg-type]
    assert wrote("./darkroom drift", tmp_path / "d.html")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"path,label\nx.png,daisy\n"),
        ("a.csv", b"path\nx.png\n"),
        ("a.csv", b"path,actual\nx.png,a\n"),
        ("a.csv", b"path,class\nx.png,a\n"),
        ("a.csv", b"\xff\xfe\x00"),
        ("a.csv", b'"path,class,probability\n'),
        ("a.csv", b"\n\n"),
        ("a.jsonl", b'{"path": "x.png", "label": "a"}\n'),
        ("a.jsonl", b"[1]\n"),
        ("a.jsonl", b"{" * 5000),
        ("a.json", b"{\n}"),
        ("a.html", b"<!DOCTYPE html>\n<html><head><title>./darkroom predict</title></head></html>"),
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("a.parquet", b"PAR1"),
        ("a.md", b"# Notes"),
        ("a", b"\0" * 9),
    ],
)
def test_files_of_others_are_not_taken_for_own(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert not any(wrote(command, tmp_path / name) for command in TABLES)


def test_parquet_of_others_is_not_taken_for_own(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["x"], "label": ["a"]}), tmp_path / "a.parquet")
    assert not wrote(PREDICT, tmp_path / "a.parquet")


def test_json_lines_of_one_line_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"path": "x", "class": "a", "probability": 1.0, "top": []}) + "\n")
    assert wrote(PREDICT, tmp_path / "a.jsonl")
