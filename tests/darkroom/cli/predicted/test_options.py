"""Flags of ./darkroom predict in place of params.yaml and calibration: each does what it says, or is refused."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from predicting import write_photos

from darkroom.base.errors import InputError
from darkroom.batch.options import GivenRule, Options
from darkroom.cli import predict
from darkroom.inference.calibrated import Rule
from darkroom.metrics.calibration import Calibration
from darkroom.metrics.decision import Decision

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def few(workspace: Path, digits: Any) -> Path:
    write_photos(digits, workspace / "few", digits.split.rows["test"][:30])
    return workspace


def rows_of(*arguments: str) -> list[dict[str, str]]:
    predict.main(["few", *arguments, "--out", "found.csv"])
    with Path("found.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("few")
def test_the_number_of_classes() -> None:
    assert "class_5" in rows_of("--top-k", "5")[0]
    assert "class_2" not in rows_of("--top-k", "1")[0]


@pytest.mark.usefixtures("few")
def test_a_temperature_sharpens_and_changes_no_class() -> None:
    plain, same, sharp = (rows_of(*flag) for flag in ([], ["--temperature", "1"], ["--temperature", "0.1"]))
    assert plain == same
    assert [row["class"] for row in sharp] == [row["class"] for row in plain]
    assert all(float(one["probability"]) > float(other["probability"]) for one, other in zip(sharp, plain, strict=True))


@pytest.mark.usefixtures("few")
def test_below_a_probability_the_class_is_unknown() -> None:
    plain = rows_of()
    values = sorted(float(row["probability"]) for row in plain)
    limit = (values[14] + values[15]) / 2
    found = rows_of("--unknown", str(limit))
    assert [row["class"] == "unknown" for row in found] == [float(row["probability"]) < limit for row in plain]
    assert [row["most_probable"] for row in found] == [row["class"] for row in plain]
    assert {row["why"] for row in found if row["class"] == "unknown"} == {"uncertain"}
    assert rows_of("--unknown", "0") == plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top-k", "0"], r"^--top-k: is 0, but should be 1 or more"),
        (["--top-k", "11"], r"^--top-k: is 11, but the model has 10 classes"),
        (["--temperature", "0"], r"^--temperature: is 0, but should be 0\.01 to 100"),
        (["--temperature", "nan"], r"^--temperature: is nan, but"),
        (["--unknown", "1"], r"^--unknown: is 1, but should be 0, for never, or below 1"),
        (["--unknown", "0.1"], r"^--unknown: is 0\.1, but the most probable of 10 classes is never below 0\.1"),
        (["--threshold", "0.7"], r"^--threshold: the model predicts the most probable of several classes"),
        (["--threshold", "fitted"], r"^--threshold: the model predicts the most probable of several classes"),
        (["--threshold", "1.5"], r"^--threshold: is 1\.5, but should be above 0 and below 1"),
        (["--threshold", "much"], r"^--threshold: is 'much', but should be a number or 'fitted'"),
        (
            ["--backbone", "pretrained", "--nearest", "2", "--unknown", "0.5"],
            r"^--unknown: is about classes, and --backbone predicts none",
        ),
    ],
)
@pytest.mark.usefixtures("few")
def test_what_makes_no_sense_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict.main(["few", *arguments])


SCORES = np.random.default_rng(0).dirichlet((1, 1), 200)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_a_threshold_decides_the_same_at_any_temperature(threshold: float) -> None:
    calibration = Calibration("x", 2.0)
    rule = Rule(Decision(calibration.threshold(threshold), 1), calibration, False, True)
    given = GivenRule.of(rule, Options(temperature=0.3))
    before, after = rule.predicted(SCORES)["probabilities"], given.predicted(SCORES)["probabilities"]
    assert not np.allclose(before, after)
    assert np.array_equal(rule.decision.label(before), given.decision.label(after))
    assert given.record == {"temperature": 0.3}


def test_what_was_given_goes_before_the_calibration() -> None:
    calibration = Calibration("x", 2.0, abstain=0.9)
    rule = Rule(Decision(), calibration, False, True)
    calibrated = rule.predicted(SCORES)["probabilities"].max(axis=1)
    assert np.array_equal(rule.predicted(SCORES)["abstained"], calibrated < 0.9)
    assert np.array_equal(GivenRule.of(rule, Options(unknown=0.6)).predicted(SCORES)["abstained"], calibrated < 0.6)
    assert GivenRule.of(rule, Options(unknown=0.0)).predicted(SCORES)["abstained"] is None
    # Another temperature alone changes what is shown, not for which images the model abstains.
    assert np.array_equal(GivenRule.of(rule, Options(temperature=1.0)).predicted(SCORES)["abstained"], calibrated < 0.9)


def test_a_sheet_and_a_page_of_the_first_images(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (few / "table.csv").write_text("path,label\n" + "".join(f"few/{number:03d}.png,{number % 10}\n" for number in range(30)))
    predict.main(["table.csv", "--sheet", "sheet.png", "--out", "found.csv"])
    with Image.open("sheet.png") as sheet:
        assert sheet.width > 1000
    predict.main(["table.csv", "--sheet", "sheet.html"])
    assert "predict: sheet of the first images in sheet.html" in capsys.readouterr().out
    page = (few / "sheet.html").read_text()
    assert page.count("<img") == 30
    assert "few/029.png" in page
    assert page.count('class="bad"') + page.count('class="good"') == 30
