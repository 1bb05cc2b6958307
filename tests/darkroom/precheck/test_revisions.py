"""Trainings that are named and do not exist are refused before DVC removes the model."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.precheck.revisions import check_revisions
from darkroom.repository.origins import with_commit

COMMIT = "git -c user.name=a -c user.email=a@localhost commit -q --allow-empty -m start"
TEACHER = {"weight": 0.5, "temperature": 2.0}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a branch, a tag, an experiment and a folder."""
    experiment = f"refs/exps/00/{'1' * 38}/better"
    commands = f"git init -q -b main && {COMMIT} && git tag v1.0 && git update-ref {experiment} HEAD && mkdir copied"
    subprocess.run(["bash", "-c", commands], cwd=tmp_path, check=True)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def commit_of(repository: Path) -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", ["{}", "{:.7}", "{}:models/checkpoints/epoch_0003", "copied"])
def test_a_commit_or_a_folder_is_always_the_same(repository: Path, make_params: Callable[..., Params], name: str) -> None:
    name = name.format(commit_of(repository))
    check_revisions(make_params({"train.init_from": name, "train.teacher": TEACHER | {"model": name}}).train)


@pytest.mark.parametrize(
    "name", ["main", "HEAD", "v1.0", "better", "HEAD:models/checkpoints/epoch_0003", "HEAD^{/start}", "deadbeef", "DEADBEEF"]
)
@pytest.mark.parametrize("key", ["init_from", "resume_from", "teacher.model"])
def test_a_name_that_can_come_to_mean_another_training_is_refused_with_its_commit(
    repository: Path, make_params: Callable[..., Params], name: str, key: str
) -> None:
    """Also a branch that is called like a commit: Git prefers it."""
    subprocess.run(["git", "branch", "deadbeef"], cwd=repository, check=True)
    subprocess.run(["git", "branch", "DEADBEEF"], cwd=repository, check=True)
    section = TEACHER | {"model": name} if key == "teacher.model" else name
    fixed = commit_of(repository) + "".join(name.partition(":")[1:])
    with pytest.raises(InputError) as caught:
        check_revisions(make_params({f"train.{key.partition('.')[0]}": section}).train)
    assert str(caught.value) == (
        f"params.yaml: train.{key}: {name} can come to mean another training, and DVC would not notice; "
        f"name the commit that it is now: -S train.{key}={fixed}"
    )
    section = TEACHER | {"model": fixed} if key == "teacher.model" else fixed
    check_revisions(make_params({f"train.{key.partition('.')[0]}": section}).train)


def test_of_several_experiments_the_one_of_head_is_meant(repository: Path) -> None:
    other = subprocess.run(
        ["bash", "-c", f"{COMMIT} && git rev-parse HEAD"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    assert with_commit(repository, "better") != other
    subprocess.run(["git", "update-ref", f"refs/exps/{other[:2]}/{other[2:]}/better", "HEAD"], cwd=repository, check=True)
    assert with_commit(repository, "better") == other
    subprocess.run(["bash", "-c", COMMIT], cwd=repository, check=True)
    assert with_commit(repository, "better") is None, "which one is meant, nobody knows"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.init_from": "mian"}, "train.init_from: mian is no folder, commit, branch, tag or experiment; did you mean 'main'?"),
        ({"train.resume_from": "beter"}, "train.resume_from: beter is no folder, commit, branch, tag or experiment; did you mean 'better'?"),
        ({"train.teacher": TEACHER | {"model": "v1"}}, "train.teacher.model: v1 is no folder, commit, branch, tag or experiment; did you mean 'v1.0'?"),
        ({"train.init_from": "HEAD~5"}, "train.init_from: HEAD~5 is no folder, "),
        ({"train.init_from": "~nobody-here/models"}, "train.init_from: ~nobody-here/models is no folder, "),
        ({"train.init_from": "--help"}, "train.init_from: --help is no folder, "),
        ({"train.init_from": "x" * 3000}, f"train.init_from: {'x' * 200}… is no folder, "),
        ({"train.init_from": "a\0b"}, "train.init_from: 'a\\x00b' holds a control character"),
    ],
)  # fmt: skip
def test_what_does_not_exist(repository: Path, make_params: Callable[..., Params], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_revisions(make_params(changes).train)
    assert str(caught.value).startswith(f"params.yaml: {message}")
    assert len(str(caught.value)) < 500
    assert repository.is_dir()
