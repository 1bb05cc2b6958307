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


@pytest.mark.parametrize(
    "name", ["main", "HEAD", "v1.0", "better", "copied", "HEAD:models/checkpoints/epoch_0003", "HEAD^{/start}"]
)
def test_what_exists(repository: Path, make_params: Callable[..., Params], name: str) -> None:
    check_revisions(make_params({"train.init_from": name, "train.teacher": TEACHER | {"model": name}}).train)
    assert repository.is_dir()


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
