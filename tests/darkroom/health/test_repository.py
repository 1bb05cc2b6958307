"""Checks of params.yaml and Git."""

from pathlib import Path

import pytest
from findings_of import line, lines, way_out
from repositories import shell

from darkroom.health import repository


def test_params(workspace: Path) -> None:
    assert line(repository.check_params(workspace), "params.yaml") == "ok params.yaml valid"
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("  lr: 0.01", "  lr: fast"))
    found = line(repository.check_params(workspace), "params.yaml")
    assert 'train.lr: is "fast", but should be ' in found
    assert found.startswith("fail params.yaml ")
    assert found.endswith("; run: ${EDITOR:-nano} params.yaml")
    path.unlink()
    assert line(repository.check_params(workspace), "params.yaml").startswith("fail params.yaml does not exist; run: ")
    shell(way_out(line(repository.check_params(workspace), "params.yaml")), workspace)
    assert line(repository.check_params(workspace), "params.yaml") == "ok params.yaml valid"


def test_git(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert lines(repository.check_git(workspace))[0].startswith("ok git last commit: ")
    empty = tmp_path_factory.mktemp("no repository")
    assert lines(repository.check_git(empty)) == [
        'fail git not a Git repository; run: git init && git add -A && git commit -m "Start"'
    ]
    shell("git init -q", empty)
    assert lines(repository.check_git(empty))[0].startswith("fail git no commit yet, and experiments need one; run: git add -A")


def test_git_of_another_user(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert lines(repository.check_git(workspace)) == [
        f"fail git the folder belongs to another user; run: git config --global --add safe.directory {workspace}"
    ]


def test_git_user(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(workspace))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(workspace))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert line(repository.check_git(workspace), "git user") == "ok git user Tester <t@localhost>"
    shell("git config --unset user.email", workspace)
    found = line(repository.check_git(workspace), "git user")
    assert found.startswith("warn git user user.name or user.email is not set, so commits fail; run: git config user.name")
    shell(way_out(found), workspace)
    assert line(repository.check_git(workspace), "git user") == "ok git user Your Name <you@example.com>"


def test_changes_beside_results(workspace: Path) -> None:
    assert line(repository.check_git(workspace), "git changes") == "ok git changes src and params.yaml are committed"
    (workspace / "src" / "new.py").touch()
    (workspace / "params.yaml").write_text("changed")
    assert line(repository.check_git(workspace), "git changes").startswith(
        "ok git changes params.yaml (and 1 more) not committed; there are no results"
    )
    (workspace / "dvc.lock").touch()
    found = line(repository.check_git(workspace), "git changes")
    assert found.startswith("warn git changes params.yaml (and 1 more) not committed: results do not match the last commit")
    assert way_out(found) == 'git add src params.yaml && git commit -m "Change src and params.yaml"'
    shell(way_out(found), workspace)
    assert line(repository.check_git(workspace), "git changes").startswith("ok git changes src and params.yaml are committed")
    (workspace / "params.yaml").write_text("changed again")
    found = line(repository.check_git(workspace), "git changes")
    assert way_out(found) == 'git add params.yaml && git commit -m "Change params.yaml"'
