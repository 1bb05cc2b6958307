"""Names, conditions and orders that a person types."""

import pytest
from hand_made import Work, params_with, results

from darkroom.base.errors import InputError


@pytest.fixture
def tried(work: Work) -> Work:
    work.commit(results(0.90, 0.99), "First results", age=7200)
    work.experiment("small", results(0.80, 0.81, params=params_with(batch_size=16)), age=60)
    work.experiment("slow", results(0.95, 0.85, params=params_with(lr=0.001)), age=3600)
    work.experiment("trial", results(0.93, params=params_with(lr=0.002)), age=1800)
    return work


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["val.accuracy > 0.9"], ["slow", "trial"]),
        (["val/accuracy>=0.9"], ["HEAD", "slow", "trial"]),
        (["accuracy < 0.9"], ["small"]),
        (["test.accuracy > 0"], ["HEAD", "slow", "small"]),
        (["val.accuracy > 0.9 and lr < 0.002"], ["slow"]),
        (["train.lr == 0.01", "batch_size != 64"], ["small"]),
        (["optimizer = torch.optim.AdamW", "name ~ s*"], ["slow", "small"]),
        (["name ~ 's*'"], ["slow", "small"]),
        (["age < 0.1"], ["small"]),
        (["minutes > 0"], []),
        (["optimizer > 3"], []),
    ],
)
def test_conditions(tried: Work, conditions: list[str], expected: list[str]) -> None:
    assert [row.name for row in tried.show(conditions=tuple(conditions)).rows] == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (None, ["HEAD", "slow", "trial", "small"]),
        ("test.accuracy", ["HEAD", "slow", "small", "trial"]),
        ("age", ["HEAD", "small", "trial", "slow"]),
        ("lr", ["HEAD", "slow", "trial", "small"]),
        ("val.loss", ["HEAD", "slow", "small", "trial"]),
        ("name", ["HEAD", "slow", "small", "trial"]),
    ],
)
def test_orders(tried: Work, sort: str | None, expected: list[str]) -> None:
    """HEAD stays on top; the best or lowest comes first, and last what has no value."""
    assert [row.name for row in tried.show(sort=sort).rows] == expected


def test_the_other_way_round(tried: Work) -> None:
    assert [row.name for row in tried.show(sort="test.accuracy", is_reversed=True).rows] == ["HEAD", "small", "slow", "trial"]
    assert [row.name for row in tried.show(sort="name", is_reversed=True).rows] == ["HEAD", "trial", "small", "slow"]


def test_the_metric_of_an_order_is_a_column(tried: Work) -> None:
    assert tried.show().metrics == ("val.accuracy", "test.accuracy")
    assert tried.show(sort="val.loss").metrics == ("val.accuracy", "test.accuracy", "val.loss")
    assert tried.show(sort="lr").metrics == ("val.accuracy", "test.accuracy")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"conditions": ("val.acuracy > 1",)}, "--filter: val.acuracy: no row has this; did you mean 'val.accuracy'?"),
        ({"conditions": ("good",)}, "--filter: 'good' is no condition; write 'val.accuracy > 0.9', or 'name ~ search-*'"),
        ({"conditions": ("lr >",)}, "--filter: 'lr >' is no condition; write 'val.accuracy > 0.9', or 'name ~ search-*'"),
        ({"sort": "minuts"}, "--sort: minuts: no row has this; did you mean 'minutes'?"),
    ],
)
def test_mistakes_name_the_nearest(tried: Work, request_: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        tried.show(**request_)
    assert str(caught.value) == message


def test_an_unknown_name_names_the_nearest(tried: Work) -> None:
    with pytest.raises(InputError, match=r"^slo: no row has this name; did you mean 'slow'\?"):
        tried.show("slo")
    assert [row.name for row in tried.show(tried.git("rev-parse", "HEAD")).rows] == ["HEAD"]


def test_a_row_below_the_table_says_what_sorting_by_test_does(tried: Work) -> None:
    from darkroom.history.overview import notes

    assert any(note.startswith("What is chosen by the test split") for note in notes(tried.show(sort="test.accuracy")))
