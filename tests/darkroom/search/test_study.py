"""A study refuses another space, metric, code or data; `tune.start` takes the parameters of another commit."""

import copy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest

from darkroom.base.errors import InputError
from darkroom.base.params_file import check_params
from darkroom.experiments.overrides import with_settings
from darkroom.experiments.repository import git
from darkroom.experiments.yaml_edits import write_params
from darkroom.search.space import Space
from darkroom.search.study import check_baseline, check_study, with_start

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@localhost")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_params(tmp_path / "params.yaml", with_settings(content, {"train.epochs": 7, "hardware.devices": 3}))
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "seven epochs")
    return tmp_path


def test_trials_start_from_the_parameters_of_a_commit_or_an_experiment(repository: Path, content: dict[str, Any]) -> None:
    git(repository, "update-ref", f"refs/exps/ab/{'c' * 38}/mine", "HEAD")
    for name in ("HEAD", "mine"):
        content["tune"]["start"] = name
        found = with_start(content, check_params(content), repository)
        assert found["train"] == {**content["train"], "epochs": 7}
        assert (found["tune"], found["hardware"]) == (content["tune"], content["hardware"])
    content["tune"]["start"] = "nothing"
    with pytest.raises(InputError, match=r"tune\.start: nothing is not a commit, branch or experiment"):
        with_start(content, check_params(content), repository)


def test_another_space_metric_or_direction_is_refused(repository: Path, content: dict[str, Any]) -> None:
    study = optuna.create_study(direction="maximize")

    def check(**changes: Any) -> None:
        changed = copy.deepcopy(content)
        changed["tune"] |= changes
        params = check_params(changed)
        check_study(study, params, Space(params.tune.search_space, changed), repository)

    check()
    check(trials=50, seed=3, jobs=2)
    for changes, told in (
        (
            {"metric": "val/loss"},
            r"tune\.metric: the study search has val/accuracy; change it back, or give tune\.study a new name",
        ),
        ({"direction": "minimize"}, r"tune\.direction: the study search has another"),
        (
            {"search_space": {"train.lr": {"distribution": "float", "low": 0.001, "high": 0.2, "log": True}}},
            "also has train.batch_size",
        ),
    ):
        with pytest.raises(InputError, match=told):
            check(**changes)


def test_a_new_study_does_not_take_the_names_of_an_old_one(repository: Path, content: dict[str, Any]) -> None:
    git(repository, "update-ref", f"refs/exps/ab/{'c' * 38}/search-0000", "HEAD")
    params = check_params(content)
    with pytest.raises(
        InputError, match="tune.study: search is new, but there is already an experiment search-0000".replace(".", r"\.")
    ):
        check_study(optuna.create_study(direction="maximize"), params, Space(params.tune.search_space, content), repository)


def test_other_parameters_code_and_data_are_refused_but_for_what_is_searched() -> None:
    study = optuna.create_study(study_name="mine")
    inputs = {
        "params.yaml: train.lr": "0.01",
        "params.yaml: train.loss.gamma": "2",
        "src/train.py": "a",
        "data/raw/dataset.json": "b",
    }

    def check(*searched: str, **changes: str) -> None:
        names = {
            "lr": "params.yaml: train.lr",
            "gamma": "params.yaml: train.loss.gamma",
            "code": "src/train.py",
            "data": "data/raw/dataset.json",
        }
        found = inputs | {names[name]: value for name, value in changes.items()}
        check_baseline(study, found, ["train.loss", *searched])

    check()
    check(gamma="3")
    for name, told in (("lr", "params.yaml: train.lr"), ("code", "src/train.py"), ("data", "data/raw/dataset.json")):
        with pytest.raises(InputError, match=f"^{told}: differs from what the study mine began with; change it back"):
            check(**{name: "other"})
