"""Searches and repetitions are one row each, and can be opened."""

import pytest
from hand_made import NOW, Work, params_with, results

from darkroom.base.errors import InputError
from darkroom.history.groups import fold, group_of
from darkroom.history.overview import notes
from darkroom.history.table import Columns


def labels(work: Work, *names: str, **request: object) -> list[str]:
    overview = work.show(*names, **request)
    columns = Columns(overview.metrics, overview.reference, overview.opened, NOW)
    return [line.name for line in columns.lines(overview.rows)]


def test_a_search_is_shown_by_its_best_trial_and_repetitions_by_their_mean(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.experiments({f"rates-{number:04d}": results(0.9 + number / 100, params=params_with(lr=number)) for number in (1, 4, 2)})
    seeds = {seed: results(0.92 + 0.02 * seed, 0.90 + 0.04 * seed, params=params_with(seed=seed)) for seed in (0, 1)}
    for seed, files in seeds.items():
        work.experiment(f"again-seed{seed}", files, message=f"again-seed{seed}: {{'base.seed': {seed}}}", age=100 - seed)
    rows = {row.group or row.name: row for row in work.show().rows}
    assert list(rows) == ["HEAD", "rates", "again"]
    assert rows["rates"].name == "rates-0004"
    assert rows["rates"].metrics["val.accuracy"] == pytest.approx(0.94)
    assert [member.name for member in rows["rates"].members] == ["rates-0004", "rates-0002", "rates-0001"]
    assert rows["again"].metrics["test.accuracy"] == pytest.approx(0.92)
    assert rows["again"].spread["test.accuracy"] == pytest.approx(0.02828, abs=1e-5)
    assert "base.seed" not in rows["again"].params
    assert rows["again"].seconds == NOW - 99


def test_a_search_can_be_opened_by_its_name(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.experiments({f"rates-{number:04d}": results(0.9 + number / 100) for number in (1, 2)})
    best = "rates-0002, best of 2 trials"
    assert labels(work) == ["HEAD, workspace", best]
    assert (
        labels(work, opened=("all",))
        == labels(work, opened=("rates",))
        == ["HEAD, workspace", best, "  rates-0002", "  rates-0001"]
    )
    assert labels(work, "rates") == [best, "  rates-0002", "  rates-0001"]
    assert labels(work, "rates-0001") == ["rates-0001"]
    assert labels(work, "rat*1", "HEAD") == ["HEAD, workspace", "rates-0001"]
    assert "2 results, sorted by val.accuracy." in list(notes(work.show("rates")))
    assert next(notes(work.show())) == ("3 results, sorted by val.accuracy; './darkroom show rates' lists the runs of rates.")
    with pytest.raises(InputError, match=r"--open: rate: is no search or repetition here; did you mean 'rates'\?"):
        labels(work, opened=("rate",))


def test_only_what_tune_and_repeat_recorded_is_folded(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.experiments({f"resnet-{number}": results(0.9, 0.9) for number in (1850, 5050)}, message="dvc: commit experiment")
    work.experiments({"lone-0000": results(0.8)})
    rows = work.show().rows
    assert [group_of(row) for row in rows] == [("", ""), ("", ""), ("", ""), ("lone", "trial")]
    assert fold(rows, lambda _: 0.0) == rows


def test_the_best_trial_is_that_of_the_monitored_metric(work: Work) -> None:
    params = params_with(monitor="val/loss")
    work.commit(results(0.90, 0.91, params=params), "First results")
    lower = results(0.80, params=params)
    lower["metrics/train.json"] = lower["metrics/train.json"].replace('"loss": 0.5', '"loss": 0.1')
    work.experiments({"rates-0000": results(0.95, params=params), "rates-0001": lower})
    overview = work.show()
    assert overview.metrics == ("published.criterion", "test.accuracy")
    assert [row.name for row in overview.rows] == ["HEAD", "rates-0001"]
