"""Versions, snapshots and trials work wherever Git may put a project, and whatever characters its path has."""

from pathlib import Path

import pytest
from places import CONTENT
from repositories import shell

from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.repository import find_experiment, params_of, take_snapshot
from darkroom.experiments.slots import Slot, lock_slots
from darkroom.repository.dvc import cache_dir
from darkroom.repository.git import git_output, trouble_of
from darkroom.versions.revisions import open_revision


def test_a_trial_becomes_an_experiment(project: Path) -> None:
    (project / "params.yaml").write_text("train: {lr: 0.02}\n")  # not committed
    before = git_output(project, "status", "--porcelain")
    with lock_slots(project, 1) as (slot,):
        snapshot = take_snapshot(project)
        for _ in range(2):  # the second time in the clone that is there
            slot.prepare(snapshot, {"train": {"lr": 0.5}}, lock=None)
        (slot.folder / "metrics").mkdir()
        (slot.folder / "metrics" / "train.json").write_text("{}")
        # Of DVC in the clone.
        assert cache_dir(slot.folder) == cache_dir(project) == (project / ".dvc" / "cache").resolve()
        commit = slot.save(snapshot, "mine-0000", "a message")
    assert find_experiment(project, "mine-0000") == commit
    assert params_of(project, commit) == {"train": {"lr": 0.5}}
    assert git_output(project, "status", "--porcelain") == before
    # As `dvc exp apply` reads it.
    assert open_revision(project, "mine-0000", ()).read("metrics/train.json") == b"{}"
    changed = git_output(project, "diff", "--name-only", "--relative", "HEAD", commit).splitlines()
    assert sorted(changed) == ["dvc.lock", "metrics/train.json", "params.yaml"]
    assert git_output(project, "diff", "--name-only", "HEAD", commit).count("\n") == 2, "nothing outside the project"


def test_a_version_is_read_from_the_cache(project: Path) -> None:
    assert trouble_of(project) is None
    head = open_revision(project, "HEAD", ())
    assert head.outs == {"models/model.json"}
    assert head.read("models/model.json") == CONTENT
    assert head.read("params.yaml") == b"train: {lr: 0.01}\n"


def test_a_slot_that_is_damaged_is_made_anew(plain: Path, tmp_path: Path) -> None:
    slot = Slot(plain, tmp_path / "slot")
    slot.prepare(take_snapshot(plain), {"train": {"lr": 0.5}}, lock=None)
    (slot.folder / ".dvc" / "config.local").write_text("garbage")
    slot.prepare(take_snapshot(plain), {"train": {"lr": 0.6}}, lock=None)
    assert read_yaml(slot.folder / "params.yaml") == {"train": {"lr": 0.6}}
    assert cache_dir(slot.folder) == cache_dir(plain)


def test_a_hook_of_another_repository_changes_nothing(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shell("git init -q", other)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    assert trouble_of(plain) is None
    with lock_slots(plain, 1) as (slot,):
        snapshot = take_snapshot(plain)
        slot.prepare(snapshot, {"train": {"lr": 0.5}}, lock=None)
        assert slot.save(snapshot, "mine-0000", "a message") == find_experiment(plain, "mine-0000")


def test_hooks_and_settings_of_the_user_change_nothing(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "pre-commit"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f'[core]\n    hooksPath = "{hooks}"\n[log]\n    showSignature = true\n[status]\n    relativePaths = false\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    with lock_slots(plain, 1) as (slot,):
        snapshot = take_snapshot(plain)
        slot.prepare(snapshot, {"train": {"lr": 0.5}}, lock=None)
        slot.save(snapshot, "mine-0000", "a message")
    assert find_experiment(plain, "mine-0000")


def test_a_lock_of_the_index_that_is_left_behind_stops_no_search(plain: Path) -> None:
    (plain / ".git" / "index.lock").touch()
    (plain / "params.yaml").write_text("train: {lr: 0.02}\n")
    with lock_slots(plain, 1) as (slot,):
        snapshot = take_snapshot(plain)
        assert snapshot.commit != snapshot.head
        slot.prepare(snapshot, {"train": {"lr": 0.5}}, lock=None)
        slot.save(snapshot, "mine-0000", "a message")
    assert (plain / ".git" / "index.lock").exists()
