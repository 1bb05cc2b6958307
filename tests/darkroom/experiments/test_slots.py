"""Slots change nothing in the repository but add one reference, and repair themselves after kills."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.overrides import with_settings
from darkroom.experiments.repository import Snapshot, find_experiment, params_of, take_snapshot
from darkroom.experiments.slots import Slot, lock_slots
from darkroom.experiments.yaml_edits import write_params
from darkroom.repository.git import git_output

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@localhost")
    path = tmp_path / "darkroom"
    (path / ".dvc").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvc/config"):
        shutil.copy(ROOT / name, path / name)
    (path / ".dvc" / ".gitignore").write_text("/tmp\n/cache\n/config.local\n")
    subprocess.run(["git", "init", "--quiet", str(path)], check=True)
    git_output(path, "add", "--all")
    git_output(path, "commit", "--quiet", "-m", "start")
    return path


def everything(repository: Path) -> tuple[Any, ...]:
    """Files and Git state that a search must not change."""
    files = {
        str(path): path.read_bytes() for path in repository.rglob("*") if path.is_file() and not {".git", "tmp"} & set(path.parts)
    }
    return (
        files,
        git_output(repository, "status", "--porcelain"),
        git_output(repository, "rev-parse", "HEAD"),
        git_output(repository, "stash", "list"),
    )


@pytest.fixture
def opened(repository: Path, tmp_path: Path, content: dict[str, Any]) -> Callable[..., tuple[Slot, Snapshot]]:
    def make(**settings: Any) -> tuple[Slot, Snapshot]:
        slot, snapshot = Slot(repository, tmp_path / "slot"), take_snapshot(repository)
        slot.prepare(snapshot, with_settings(content, {f"train.{key}": value for key, value in settings.items()}), lock=None)
        return slot, snapshot

    return make


def test_an_experiment_is_the_workspace_with_other_parameters(
    repository: Path, opened: Callable[..., tuple[Slot, Snapshot]]
) -> None:
    (repository / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text() + "# a change that is not committed\n")
    before = everything(repository)
    slot, snapshot = opened(lr=3e-5, optimizer={"_target_": "torch.optim.SGD"}, threads=2)
    (slot.folder / "metrics" / "train").mkdir(parents=True)
    (slot.folder / "metrics" / "train.json").write_text("{}")
    commit = slot.save(snapshot, "mine-0000", "a message")
    assert everything(repository) == before
    assert find_experiment(repository, "mine-0000") == commit
    assert git_output(repository, "rev-parse", f"{commit}^") == git_output(repository, "rev-parse", "HEAD")
    changed = git_output(repository, "diff", "--stat", "HEAD", commit)
    assert all(name in changed for name in ("params.yaml", "dvc.yaml", "train.json"))
    assert params_of(repository, commit)["train"]["lr"] == 3e-5
    assert params_of(repository, commit)["train"]["optimizer"] == {"_target_": "torch.optim.SGD"}
    # The comments stay, and the lines that nothing has changed.
    assert (
        git_output(repository, "diff", "--shortstat", "HEAD", commit, "--", "params.yaml")
        .lstrip()
        .startswith("1 file changed, 2 insertions(+), 3 deletions")
    )


@pytest.mark.parametrize("damage", ["index.lock", "no HEAD", "half a clone", "its own changes", "rwlock"])
def test_a_slot_that_a_kill_damaged_is_repaired(opened: Callable[..., tuple[Slot, Snapshot]], damage: str) -> None:
    slot, _ = opened()
    if damage == "index.lock":
        (slot.folder / ".git" / "index.lock").touch()
    elif damage == "no HEAD":
        (slot.folder / ".git" / "HEAD").write_bytes(b"\0" * 20)
    elif damage == "half a clone":
        shutil.rmtree(slot.folder / ".git" / "objects")
    elif damage == "rwlock":
        (slot.folder / ".dvc" / "tmp").mkdir(exist_ok=True)
        (slot.folder / ".dvc" / "tmp" / "rwlock").write_text("{")
    else:
        (slot.folder / "dvc.yaml").unlink()
        (slot.folder / "stray.txt").touch()
        (slot.folder / "params.yaml").write_text("no: params\n")
    slot, snapshot = opened(lr=0.5)
    assert read_yaml(slot.folder / "params.yaml")["train"]["lr"] == 0.5
    assert not (slot.folder / "stray.txt").exists()
    assert not (slot.folder / ".dvc" / "tmp" / "rwlock").exists()
    slot.save(snapshot, "mine-0000", "a message")


def test_an_experiment_that_is_there_is_never_replaced(repository: Path, opened: Callable[..., tuple[Slot, Snapshot]]) -> None:
    slot, snapshot = opened(lr=0.5)
    first = slot.save(snapshot, "mine-0000", "a message")
    slot, snapshot = opened(lr=0.6)
    assert slot.save(snapshot, "mine-0000", "another message") == first
    assert params_of(repository, first)["train"]["lr"] == 0.5


def test_results_of_other_models_are_left_out(repository: Path, opened: Callable[..., tuple[Slot, Snapshot]]) -> None:
    (repository / "metrics" / "evaluate").mkdir(parents=True)
    (repository / "metrics" / "evaluate.json").write_text('{"test": {"accuracy": 1.0}}')
    (repository / "dvc.lock").write_text("schema: '2.0'\nstages:\n  split: {cmd: a}\n  train: {cmd: b}\n  evaluate: {cmd: c}\n")
    git_output(repository, "add", "--all")
    git_output(repository, "commit", "--quiet", "-m", "results")
    slot, snapshot = opened()
    commit = slot.save(snapshot, "mine-0000", "a message")
    assert git_output(repository, "show", f"{commit}:metrics/evaluate.json") == "{}", "which 'dvc exp show' leaves blank"
    stages = read_yaml(slot.folder / "dvc.lock")["stages"]
    assert (stages["split"], stages["train"]) == ({"cmd": "a"}, {"cmd": "b"})
    assert all("deps" not in stages[name] for name in ("evaluate", "predict"))
    # What `dvc exp apply` checks out in place of results that a trial has not: an empty folder, and an empty file.
    assert {out["path"]: "nfiles" in out for out in stages["evaluate"]["outs"]} == {
        "metrics/evaluate": True,
        "metrics/predictions.parquet": False,
        "models/README.md": False,
        "models/calibration.json": False,
        "metrics/evaluate.json": False,
    }
    table = next(out for out in stages["evaluate"]["outs"] if out["path"] == "metrics/evaluate.json")
    assert table["md5"] == hashlib.md5((slot.folder / "metrics/evaluate.json").read_bytes(), usedforsecurity=False).hexdigest()
    cached = [out for out in stages["evaluate"]["outs"] if out["path"] != "metrics/evaluate.json"]
    cache = repository / ".dvc" / "cache" / "files" / "md5"
    assert {out["path"]: (cache / out["md5"][:2] / out["md5"][2:]).read_text() for out in cached} == {
        "metrics/evaluate": "[]",
        "metrics/predictions.parquet": "",
        "models/README.md": "",
        "models/calibration.json": "",
    }


def test_data_is_shared_with_the_repository(repository: Path, opened: Callable[..., tuple[Slot, Snapshot]]) -> None:
    (repository / ".dvc" / "config.local").write_text(
        "['remote \"there\"']\n    url = /elsewhere\n[cache]\n    dir = ../shared\n"
    )
    slot, _ = opened()
    settings = (slot.folder / ".dvc" / "config.local").read_text()
    assert f"dir = {repository / 'shared'}" in settings
    assert "url = /elsewhere" in settings


def test_searches_side_by_side_have_slots_of_their_own(repository: Path) -> None:
    with lock_slots(repository, 2) as slots:
        assert [slot.folder.name for slot in slots] == ["0", "1"]
        if (search := os.fork()) == 0:  # another one
            with lock_slots(repository, 2) as others:
                os._exit([slot.folder.name for slot in others] != ["2", "3"])
        assert os.waitpid(search, 0)[1] == 0


def test_a_repository_without_a_commit_is_one_line(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    with pytest.raises(InputError, match="no commit yet, and experiments need one; run: git add -A"):
        take_snapshot(tmp_path)


def test_parameters_are_written_with_their_types(tmp_path: Path, content: dict[str, Any]) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    changes = {"train.lr": 1e-5, "train.freeze": True, "train.mixup": None, "train.lr_table": {"0": 0.1}, "train.augment": []}
    wanted = with_settings(content, changes)
    write_params(tmp_path / "params.yaml", wanted)
    written = read_yaml(tmp_path / "params.yaml")
    assert written == wanted
    assert written["train"]["freeze"] is True
