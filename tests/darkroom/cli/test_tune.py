"""Searches and repetitions as a person runs them: experiments with their own numbers, also after kills; nothing else is touched."""

import csv
import io
import json
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from clones import Clone, make_clone
from optuna.trial import TrialState

from darkroom.base.yaml_file import read_yaml
from darkroom.search.storage import open_storage

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tune")]
SPACE = "-S '~tune.search_space' -S '+tune.search_space"
TUNE = "./darkroom tune -S hardware.watch=false"


def study_of(clone: Clone, name: str = "search") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=open_storage(None, clone.path, name)[0])


def rows(clone: Clone) -> dict[str, dict[str, Any]]:
    """Return what `dvc exp show` has of each experiment, by name."""
    baseline = json.loads(clone.run("dvc exp show --json").stdout)[-1]
    revisions = [revision for each in baseline["experiments"] or [] for revision in each["revs"]]
    return {revision["name"]: revision["data"] for revision in revisions}


def shown_metrics(row: dict[str, Any], file: str = "metrics/train.json") -> dict[str, float]:
    found: dict[str, float] = row["metrics"][file]["data"]["published"]
    return found


def kill_when(clone: Clone, command: str, log: str, line: str, number: signal.Signals = signal.SIGKILL) -> str:
    """Start a command, kill it alone once a line stands in a log, and return what it said.

    What is asked to end may fork: it hears of it as always.
    """
    env = clone.cold().env if number == signal.SIGKILL else clone.env
    process = subprocess.Popen(
        shlex.split(command), cwd=clone.path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    path = clone.path / log
    deadline = time.monotonic() + 300
    while not (path.is_file() and line in path.read_text(encoding="utf-8")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate()[0]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = make_clone(tmp_path_factory.mktemp("tune") / "darkroom")
    made.env["CUDA_VISIBLE_DEVICES"] = ""  # searches lease GPUs of the whole machine, where other tests may run some
    return made


@pytest.fixture(scope="module")
def searched(clone: Clone) -> tuple[Clone, str]:
    """A search of three trials, killed in the first and asked to end in a later one, with a user's own changes beside it."""
    with (clone.path / "params.yaml").open("a") as file:
        file.write("# mine\n")
    command = f"{TUNE} -S tune.trials=3 -S tune.pruner=null -S tune.study=search"
    kill_when(clone, command, "logs/search/search-0000.log", "epoch 2/3")
    told = kill_when(clone, f"{command} --jobs 2", "logs/search/search-0001.log", "epoch 1/3", signal.SIGTERM)
    assert told.endswith("error: interrupted by SIGTERM; finished trials are kept, the same command resumes the others\n")
    done = clone.run(f"{command} --jobs 2")
    return clone, done.stdout


def test_trials_are_experiments_with_their_own_numbers(searched: tuple[Clone, str]) -> None:
    clone, _ = searched
    found, study = rows(clone), study_of(clone)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert sorted(found) == [f"search-{number:04d}" for number in range(3)]
    for number, trial in enumerate(study.trials):
        row = found[f"search-{number:04d}"]
        params = row["params"]["params.yaml"]["data"]
        assert (params["train"]["lr"], params["train"]["batch_size"]) == (
            trial.params["train.lr"],
            trial.params["train.batch_size"],
        )
        assert params["tune"]["trials"] == 20  # how long the search was says nothing of a trial
        assert shown_metrics(row)["accuracy"] == trial.value
        assert row["metrics"]["metrics/evaluate.json"] == {"data": {}}, "an error would be shown as !"
        assert trial.user_attrs["experiment"].startswith(row["rev"])
    assert study.trials[0].params == {"train.lr": 0.01, "train.batch_size": 64}
    assert len({trial.params["train.lr"] for trial in study.trials}) == 3


def test_show_has_a_row_for_the_search_and_one_for_each_trial_when_it_is_named(searched: tuple[Clone, str]) -> None:
    clone, _ = searched
    table = list(csv.DictReader(io.StringIO(clone.run("./darkroom show search --csv -").stdout)))
    values = {row["name"]: float(row["val.accuracy"]) for row in table}
    assert values == {f"search-{trial.number:04d}": trial.value for trial in study_of(clone).trials}
    assert list(values.values()) == sorted(values.values(), reverse=True)
    assert {row["test.accuracy"] for row in table if "test.accuracy" in row} <= {""}
    assert all(row["faults"] == row["inputs"] == "" for row in table)
    best = table[0]["name"]
    folded, opened = (clone.run(f"./darkroom show {name}").stdout for name in ("--filter 'val.accuracy > 0'", "search"))
    assert [line.split("  ")[0] for line in folded.splitlines()[1:2]] == [f"{best}, best of 3 trials"]
    assert [line.split()[0].strip(",") for line in opened.splitlines()[1:5]] == [best, *values]
    assert f"'dvc exp apply {best} && dvc repro'" in " ".join(folded.split())


def test_an_interrupted_trial_went_on_at_its_step(searched: tuple[Clone, str]) -> None:
    clone, _ = searched
    log = (clone.path / "logs/search/search-0000.log").read_text()
    assert len(re.findall(r"train: resuming at epoch [23], step", log)) == 1
    assert log.count("train: published") == 1


def test_trials_find_the_data_made(searched: tuple[Clone, str]) -> None:
    clone, _ = searched
    logs = [(clone.path / f"logs/search/search-{number:04d}.log").read_text() for number in range(3)]
    assert all("Running stage 'train'" in log for log in logs)
    assert not any("Running stage 'download'" in log for log in logs)
    # The second slot has what DVC's cache has, but measures it once.
    assert "".join(logs).count("Running stage 'split'") <= 1


def test_nothing_else_is_touched(searched: tuple[Clone, str]) -> None:
    clone, _ = searched
    assert clone.run("git status --porcelain").stdout.split() == ["M", "params.yaml", "??", "metrics/search/"]
    assert clone.run("git stash list; git worktree prune --dry-run").stdout == ""
    assert (clone.path / "params.yaml").read_text().endswith("# mine\n")
    assert not re.search(r"^(warn|fail) +experiments", clone.run("./darkroom doctor", status=None).stdout, re.MULTILINE)


def test_the_end_names_the_best_and_what_to_do_with_it(searched: tuple[Clone, str]) -> None:
    clone, told = searched
    study = study_of(clone)
    best = max(study.trials, key=lambda trial: (trial.value, -trial.number))
    name = f"search-{best.number:04d}"
    assert re.search(rf"^trial .*\n{name} ", told, re.MULTILINE)
    assert "tune: 3 trials: 3 finished" in told
    assert f"optuna-dashboard {clone.path}/search/search.journal" in told
    assert f"dvc exp apply {name} && dvc repro" in told
    page = (clone.path / "search/search.html").read_text()
    assert all(f"search-{number:04d}" in page for number in range(3))
    assert not re.search(r"<script|(src|href)=\"(?!#|data:)", page)
    with (clone.path / "metrics/search/history.csv").open() as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == [trial.value for trial in study.trials]


def test_every_end_of_a_trial_says_how_far_the_search_is(searched: tuple[Clone, str]) -> None:
    _, told = searched
    best = max(trial.value for trial in study_of(searched[0]).trials)
    states = re.findall(r"^tune: (\d of 3.*)$", told, re.MULTILINE)
    assert states[-1] == f"3 of 3, best {best:.4g}"
    assert all(re.fullmatch(r"\d of 3(, best 0\.\d+)?(, \d+ (s|min) left)?", state) for state in states), states


@pytest.mark.thorough
def test_a_trial_that_was_trained_before_has_its_value_without_training(searched: tuple[Clone, str]) -> None:
    clone, _ = searched
    told = clone.run(f"{TUNE} -S tune.trials=1 -S tune.pruner=null -S tune.study=again").stdout
    assert "tune: again-0000: was trained before, with the same data, code and parameters; nothing was trained again" in told
    log = (clone.path / "logs/search/again-0000.log").read_text()
    assert "Stage 'train' is cached" in log
    assert "epoch 1/3" not in log
    first, again = study_of(clone).trials[0], study_of(clone, "again").trials[0]
    assert (again.state, again.value) == (TrialState.COMPLETE, first.value)
    assert again.intermediate_values == first.intermediate_values
    assert len(again.intermediate_values) == 3
    commits = [trial.user_attrs["experiment"] for trial in (first, again)]
    assert clone.run(f"git diff --stat {' '.join(commits)} -- metrics dvc.lock").stdout == ""
    clone.run("dvc exp remove again-0000 && git status --porcelain")


def test_the_same_command_finds_nothing_to_do(searched: tuple[Clone, str]) -> None:
    clone, told = searched
    again = clone.run(f"{TUNE} -S tune.trials=3 -S tune.pruner=null").stdout
    assert again == told[told.index("\ntrial ") :]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("-S train.epochs=4", "params.yaml: train.epochs: differs from what the study search began with; change it back"),
        ("-S tune.triels=3", "-S: DVC cannot parse it"),
        *(
            pytest.param(settings, told, marks=pytest.mark.thorough)
            for settings, told in (
                (
                    f"{SPACE}={{train.lr: {{distribution: float, low: 0.001, high: 0.1, log: true}}}}'",
                    "params.yaml: tune.search_space: the study search also has train.batch_size; change it back",
                ),
                ("-S tune.metric=val/loss", "params.yaml: tune.metric: the study search has val/accuracy; change it back"),
                ("-S tune.direction=minimize", "params.yaml: tune.direction: the study search has another"),
                ("-S tune.start=nothing", "params.yaml: tune.start: nothing is not a commit, branch or experiment"),
                (
                    f"{SPACE}={{train.lr: {{distribution: float, low: 2, high: 1}}}}'",
                    "params.yaml: tune.search_space.train.lr: low 2 is above high 1",
                ),
                ("search/rate", "conf/search/rate.yaml: there is no such preset; did you mean 'search/rates'?"),
            )
        ),
    ],
)
def test_what_is_wrong_is_told_before_the_first_trial(searched: tuple[Clone, str], settings: str, told: str) -> None:
    clone, _ = searched
    done = clone.run(f"{TUNE} {settings}", status=2)
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {told}")
    assert done.stderr.count("\n") == 1


@pytest.mark.thorough
def test_pruned_and_failed_trials_are_in_the_study_with_their_reasons_and_nowhere_else(searched: tuple[Clone, str]) -> None:
    clone, _ = searched
    refs = clone.run("git for-each-ref").stdout
    # Of other parameters than any trial before: what is finished is not trained again.
    pruner = "-S '~tune.pruner' -S '+tune.pruner={_target_: ThresholdPruner, lower: 2.0}'"
    space = (
        "-S '~tune.search_space' -S '+tune.search_space={train.optimizer.no_such_argument: {distribution: int, low: 1, high: 2}}'"
    )
    clone.run(f"{TUNE} -S train.lr=0.02 -S tune.study=pruned -S tune.trials=1 {pruner}")
    clone.run(f"{TUNE} -S tune.study=failed -S tune.trials=1 {space}")
    pruned, failed = study_of(clone, "pruned").trials[0], study_of(clone, "failed").trials[0]
    assert (pruned.state, len(pruned.intermediate_values)) == (TrialState.PRUNED, 1)
    assert "pruned at epoch 1 with " in pruned.user_attrs["reason"]
    log = (clone.path / "logs/search/pruned-0000.log").read_text()
    assert "error: train: pruned at epoch 1 by the search: " in log
    assert "exited with 3" in log
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs["reason"].startswith(
        "params.yaml: train.optimizer.no_such_argument: torch.optim.AdamW takes no such"
    )
    assert clone.run("git for-each-ref").stdout == refs


def test_a_study_whose_journal_is_damaged_loses_nothing_else(searched: tuple[Clone, str]) -> None:
    clone, _ = searched
    path = clone.path / "search" / "search.journal"
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"\0" * 50 + whole[250:])
    try:
        done = clone.run(TUNE, status=2)
    finally:
        path.write_bytes(whole)
    assert re.fullmatch(r"error: \S+/search/search\.journal:\d+: is damaged; restore the file from a backup.*\n", done.stderr)
    assert len(rows(clone)) == 3


def test_repetitions_are_experiments_and_one_row(clone: Clone) -> None:
    command = "./darkroom repeat --seeds 2 -S hardware.watch=false -S train.lr=0.03"
    *told, last = clone.run(f"{command} --jobs 2").stdout.splitlines()
    assert last.startswith("repeat: repeat-seed0 to repeat-seed1: each is an experiment; ")
    found = rows(clone)
    values = [found[f"repeat-seed{seed}"]["metrics"]["metrics/evaluate.json"]["data"]["test"]["accuracy"] for seed in (0, 1)]
    assert [found[f"repeat-seed{seed}"]["params"]["params.yaml"]["data"]["base"]["seed"] for seed in (0, 1)] == [0, 1]
    mean, deviation = sum(values) / 2, abs(values[0] - values[1]) / 2**0.5
    assert f"{mean:.4f} ± {deviation:.4f}" in told[-1]
    assert told[-1].startswith("repeat ")
    split, *table, end = clone.run(command).stdout.splitlines()
    assert end == last
    assert split == "repeat: 2 seeds: each has a split of its own; -S split.seed=0 measures all on the same images"
    assert table == told[-4:]
    other = clone.run(f"{command} -S train.lr=0.04", status=2).stderr
    assert other.startswith(
        "error: --name: there is an experiment repeat-seed0 already, with other values in train; give another --name"
    )


@pytest.mark.thorough  # a search that is killed goes on in every run, by the same means
def test_repetitions_go_on_after_a_kill(clone: Clone) -> None:
    command = "./darkroom repeat --seeds 2 -S hardware.watch=false -S train.lr=0.05 --name killed"
    kill_when(clone, command, "logs/repeat/killed-seed0.log", "epoch 2/3")
    clone.run(f"{command} --jobs 2")
    assert len(re.findall(r"train: resuming at epoch [23], step", (clone.path / "logs/repeat/killed-seed0.log").read_text())) == 1
    assert {"killed-seed0", "killed-seed1"} <= set(rows(clone))


def test_the_best_trial_is_applied_and_only_evaluated(searched: tuple[Clone, str]) -> None:
    clone, told = searched
    command = re.search(r"^dvc exp apply (\S+)", told, re.MULTILINE)
    assert command
    clone.run("git checkout -q params.yaml && rm -r metrics/search")
    clone.run(command[0])
    assert clone.stages_that_would_run() == ["evaluate", "predict"]
    assert read_yaml(clone.path / "params.yaml")["train"]["lr"] == study_of(clone).best_trial.params["train.lr"]
    assert Path(clone.path, "models/model.safetensors").is_file()
