"""The report of a search: page, tables, last lines; its `-S` arguments give the parameters of the trial."""

import csv
import math
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import optuna
import pytest
from browser import BROWSER, look
from optuna.trial import TrialState
from searching import open_trials

from darkroom.base import paths
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.overrides import with_settings
from darkroom.search.charts import scale_of
from darkroom.search.page import plain_value, search_page
from darkroom.search.report import arguments, closing_lines, counts, settings_of, write_report
from darkroom.search.search import SearchResult

OPTIMIZERS: dict[str, Any] = {
    "train.optimizer": {
        "distribution": "categorical",
        "choices": [{"_target_": "torch.optim.AdamW", "weight_decay": 0.01}, {"_target_": "torch.optim.SGD"}],
    },
    "train.optimizer.momentum": {"distribution": "float", "low": 0.1, "high": 0.9, "when": {"train.optimizer": "SGD"}},
    "train.lr": {"distribution": "float", "low": 0.001, "high": 0.1, "log": True},
}


@pytest.fixture
def found(tmp_path: Path) -> SearchResult:
    trials = open_trials(tmp_path, 12, search_space=OPTIMIZERS)
    for number in range(12):
        trial = trials.claim()
        assert trial is not None
        trials.settings(trial)
        trial.set_user_attr("seconds", 1.5)
        if number == 5:
            trials.tell(trial, TrialState.FAIL, reason="out of <memory>")
        else:
            trials.tell(trial, TrialState.COMPLETE, values=[0.9 if number == 7 else number / 100])
    return SearchResult(trials.study, trials, f"{tmp_path}/search/mine.journal")


def test_the_page_and_the_tables_have_every_trial(found: SearchResult, tmp_path: Path) -> None:
    page = write_report(found, ["val/accuracy"], tmp_path / "search", tmp_path / "metrics")
    text = page.read_text(encoding="utf-8")
    assert text.index("mine-0007") < text.index("mine-0011") < text.index("mine-0005")
    assert "out of &lt;memory&gt;" in text
    assert text.count("<svg") == 4  # the history, and one for each key
    with (tmp_path / "metrics" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["best"]) for row in rows][6:] == [0.9] * 5
    with (tmp_path / "metrics" / "importance.csv").open() as file:
        assert sum(float(row["importance"]) for row in csv.DictReader(file)) == pytest.approx(1)


def test_the_best_trial_and_the_command_that_adopts_it_stand_on_top(found: SearchResult) -> None:
    text = search_page(found, ["val/accuracy"], "12 trials")
    best, history = text.index('id="best"'), text.index('id="history"')
    assert best < text.index("<b>0.9</b>") < text.index("dvc exp apply mine-0007 &amp;&amp; dvc repro") < history


def test_values_are_no_json_and_categories_have_their_names(found: SearchResult) -> None:
    text = search_page(found, ["val/accuracy"], "12 trials")
    assert "_target_" not in text
    assert not re.search(r"[{\[]", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))
    assert text.count(">SGD</text>") == 1
    assert ">AdamW, weight_decay 0.01</text>" in text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"_target_": "torch.optim.AdamW", "betas": [0.9, 0.999], "fused": None}, "AdamW, betas 0.9, 0.999, fused none"),
        ([], "none"),
        (True, "true"),
        ("cosine", "cosine"),
        (0.00012345, "0.0001234"),
        ({"width": 8}, "width 8"),
    ],
)
def test_a_value_is_written_as_a_person_would_say_it(value: Any, said: str) -> None:
    assert plain_value(value) == said


def test_a_search_in_which_nothing_has_finished_has_a_page(tmp_path: Path) -> None:
    trials = open_trials(tmp_path, 1)
    trial = trials.claim()
    assert trial is not None
    trials.settings(trial)
    trials.tell(trial, TrialState.FAIL, reason="disk full")
    text = search_page(SearchResult(trials.study, trials, ""), ["val/accuracy"], "1 trials: 1 failed")
    assert "No trial has finished; 1 trials: 1 failed." in text
    assert "disk full" in text


def test_two_metrics_are_drawn_against_each_other(tmp_path: Path) -> None:
    trials = open_trials(tmp_path, 4, search_space=OPTIMIZERS)
    study = optuna.create_study(directions=["maximize", "minimize"], study_name="two")
    for number in range(4):
        study.add_trial(
            optuna.trial.create_trial(
                params={"train.lr": 0.01 * (1 + number), "train.optimizer": "AdamW"},
                distributions={key: trials.space.distributions()[key] for key in ("train.lr", "train.optimizer")},
                values=[0.5 + number / 10, float(number)],
            )
        )
    counted = SimpleNamespace(space=trials.space, counted=lambda: study.trials)
    text = search_page(SearchResult(study, cast("Any", counted), ""), ["accuracy", "seconds"], "4 trials")
    assert "seconds over accuracy" in text
    assert text.count("No trial is better in every metric") == 1


def test_scales_have_ticks_within_their_values() -> None:
    for values in ([0.001, 0.1], [0.004, 0.006], [0.01], [1e-6, 1.0]):
        scale = scale_of(values, is_log=True)
        assert len(scale.ticks) >= min(2, len(values))
        assert all(scale.values[0] <= place <= scale.values[1] for place, _ in scale.ticks)
        assert scale.at(values[0]) == pytest.approx(math.log10(values[0]))
    scale = scale_of(["b"], categories=["a", "b"], names=["first", "second"])
    assert scale.ticks == [(0.0, "first"), (1.0, "second")]
    assert scale.at("b") == 1.0
    assert [text for _, text in scale_of([8, 64]).ticks] == ["10", "20", "30", "40", "50", "60"]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_opens_without_an_error_or_a_request(found: SearchResult, tmp_path: Path, width: int) -> None:
    page = write_report(found, ["val/accuracy"], tmp_path / "search", tmp_path / "metrics")
    seen = look(page, width=width, dark=width == 390)
    assert (seen.errors, seen.requests, seen.width) == ([], [], width)
    assert "out of <memory>" in seen.text


def test_the_last_lines(found: SearchResult, content: dict[str, Any], tmp_path: Path) -> None:
    lines = closing_lines(found, ["val/accuracy"], tmp_path / "search" / "mine.html", content)
    assert lines[2].startswith("mine-0007  0.9 ")
    assert counts(found.trials.counted()) == "12 trials: 11 finished, 1 failed"
    assert "tune: mine-0005 failed: out of <memory>" in lines
    assert lines[-1] == f"optuna-dashboard {found.address}"
    assert lines[-3].startswith("dvc exp apply mine-0007 && dvc repro ")
    assert lines[-2].startswith("dvc exp run -S ")


def test_the_last_line_can_be_typed(found: SearchResult, content: dict[str, Any], tmp_path: Path) -> None:
    best, page = "mine-0007", tmp_path / "search" / "mine.html"

    def line_for(folder: str) -> str:
        found.trials.space.content["download"]["folder"] = folder
        return next(line for line in closing_lines(found, ["val/accuracy"], page, content)[::-1] if "dvc" in line)

    for folder, written in {
        "/data/x": "download.folder=/data/x",
        "7x/y": "\"download.folder='7x/y'\"",
        "7!y": """'download.folder='"'"'7!y'"'"''""",
    }.items():
        assert f"-S {written} " in line_for(folder) + " "
        assert f"download.folder={folder}" in [word.replace("'", "") for word in shlex.split(line_for(folder))]
    # No word for a shell, but the experiment has it as well.
    assert line_for("my photos").startswith(f"dvc exp apply {best}")


@pytest.mark.thorough
def test_the_arguments_make_the_parameters_of_every_trial(found: SearchResult, tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    content = read_yaml(paths.PARAMS)
    for trial in found.study.trials:
        words = shlex.split(" ".join(map(shlex.quote, arguments(found.trials.space, trial, content))))
        shutil.copy(paths.PARAMS, tmp_path / "params.yaml")
        apply_overrides(tmp_path / "params.yaml", [word for word in words if word != "-S"])
        expected = with_settings(content, settings_of(found.trials.space, trial))
        assert check_params(read_yaml(tmp_path / "params.yaml")) == check_params(expected)


@pytest.mark.slow
def test_tensorboard_has_parameters_and_values(found: SearchResult, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from darkroom.search.tensorboard import write_hparams

    for _ in range(2):  # again, in place of the first
        write_hparams(found, ["val/accuracy"], tmp_path / "board")
    runs = sorted((tmp_path / "board").iterdir())
    assert [run.name for run in runs] == [f"mine-{number:04d}" for number in range(12) if number != 5]
    events = EventAccumulator(str(runs[6]))
    events.Reload()
    assert events.Scalars("val/accuracy")[0].value == pytest.approx(0.9)
    assert "_hparams_/session_start_info" in events.summary_metadata
