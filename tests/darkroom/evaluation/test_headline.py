"""The table of the numbers on top of the page of `dvc plots`."""

from pathlib import Path

from darkroom.evaluation.headline import write_headline


def test_the_test_split_comes_first_and_a_metric_without_interval_has_empty_cells(tmp_path: Path) -> None:
    metrics = {"val": {"accuracy": 0.9}, "test": {"accuracy": 0.875, "=1+1": 0.5}}
    intervals = {
        "test": {"accuracy": {"value": 0.875, "low": 0.8, "high": 0.95}},
        "val": {"accuracy": {"low": None, "high": None}},
    }
    write_headline(tmp_path / "headline.csv", metrics, intervals, {"val": 10, "test": 8})
    assert (tmp_path / "headline.csv").read_text().splitlines() == [
        "split,metric,value,low,high,images",
        "test,accuracy,0.875,0.8,0.95,8",
        "test,'=1+1,0.5,,,8",
        "val,accuracy,0.9,,,10",
    ]
