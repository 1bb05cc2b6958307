"""./darkroom commit: what parameters that name a training take, for every kind of name; `tune` and `repeat` take it by themselves."""

import subprocess
from pathlib import Path

import pytest

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.cli.commit import main
from darkroom.experiments.overrides import read_request

PARAMS = Path(__file__).resolve().parents[3] / "params.yaml"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository with a branch, a tag and an experiment; returns its commit."""
    commit = "git -c user.name=a -c user.email=a@localhost commit -q --allow-empty -m start"
    experiment = f"git update-ref refs/exps/00/{'1' * 38}/better HEAD"
    command = f"git init -q -b main && {commit} && git tag v1.0 && {experiment} && git rev-parse HEAD"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True, text=True)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["main", "HEAD", "v1.0", "better", "{:.9}", "{}"])
@pytest.mark.parametrize("folder", ["", ":models/checkpoints/epoch_0003"])
def test_the_whole_commit(repository: str, capsys: pytest.CaptureFixture[str], name: str, folder: str) -> None:
    main([name.format(repository) + folder])
    assert capsys.readouterr().out == f"{repository}{folder}\n"


def test_what_is_no_version_prints_nothing(repository: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"^mian: is not a commit, branch, tag or experiment; did you mean 'main'\?"):
        main(["mian"])
    assert capsys.readouterr().out == ""
    assert repository


def test_searches_and_repetitions_name_commits(repository: str) -> None:
    teacher = "train.teacher={model: main, weight: 0.5, temperature: 2.0}"
    content, params = read_request(PARAMS, paths.PRESETS, [], ["train.init_from=better", teacher])
    assert params.train.teacher is not None
    assert (params.train.init_from, params.train.teacher.model) == (repository, repository)
    assert content["train"]["init_from"] == repository
    assert read_request(PARAMS, paths.PRESETS, [], ["train.init_from=gone"])[1].train.init_from == "gone", "check says what it is"
