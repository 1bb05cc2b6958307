"""What Git says of a repository, and the command that mends it."""

import os
import time
from pathlib import Path

import pytest
from places import in_a_folder, in_a_worktree
from repositories import shell

from darkroom.base.errors import InputError
from darkroom.experiments.repository import find_experiment, take_snapshot
from darkroom.health import repository
from darkroom.health.findings import Finding
from darkroom.repository.git import experiments, git_output, prefix_of, quoted, reference, text_in, top_of, trouble_of
from darkroom.versions.revisions import open_revision


def damaged_head(project: Path) -> None:
    (project / ".git" / "HEAD").write_bytes(b"\0" * 20)


def no_head(project: Path) -> None:
    (project / ".git" / "HEAD").unlink()


def empty_branch(project: Path) -> None:
    """As a power cut leaves it."""
    (project / ".git" / git_output(project, "symbolic-ref", "HEAD")).write_bytes(b"")


def zero_branch(project: Path) -> None:
    (project / ".git" / git_output(project, "symbolic-ref", "HEAD")).write_bytes(b"\0" * 41)


def other_branch(project: Path) -> None:
    """A commit that was lost."""
    (project / ".git" / git_output(project, "symbolic-ref", "HEAD")).write_text("0123456789" * 4 + "\n")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (damaged_head, "HEAD is damaged or missing"),
        (no_head, "HEAD is damaged or missing"),
        (empty_branch, "is damaged; it was at "),
        (zero_branch, "is damaged; it was at "),
        (other_branch, "is damaged; it was at "),
    ],
)
def test_a_damaged_head_is_named_and_mended(plain: Path, damage: object, text: str) -> None:
    assert callable(damage)
    head = git_output(plain, "rev-parse", "HEAD")
    damage(plain)
    trouble = trouble_of(plain)
    assert trouble
    assert text in trouble.text
    for command in (lambda: take_snapshot(plain), lambda: open_revision(plain, "HEAD", ())):
        with pytest.raises(InputError) as told:
            command()
        assert "\n" not in str(told.value)
        assert str(told.value).endswith(f"; run: {trouble.way_out}") or f"; run: {trouble.way_out}" in str(told.value)
    shell(trouble.way_out, plain)
    assert trouble_of(plain) is None
    assert git_output(plain, "rev-parse", "HEAD") == head


def test_without_a_commit(tmp_path: Path) -> None:
    shell("git init -q && touch x", tmp_path)
    trouble = trouble_of(tmp_path)
    assert trouble == ("no commit yet, and experiments need one", 'git add -A && git commit -m "Start"')
    shell(trouble.way_out, tmp_path)
    assert trouble_of(tmp_path) is None


def test_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    trouble = trouble_of(tmp_path)
    assert trouble
    assert trouble.text == "not a Git repository"
    assert prefix_of(tmp_path) == ""


def test_a_worktree_whose_repository_was_moved(tmp_path: Path) -> None:
    worktree = in_a_worktree(tmp_path)
    (tmp_path / "darkroom").rename(tmp_path / "moved")
    trouble = trouble_of(worktree)
    assert trouble
    assert trouble.text.startswith(f"{worktree / '.git'} leads to no repository (fatal: not a git repository")
    assert trouble.way_out.startswith("git worktree repair")
    shell(f"git worktree repair {quoted(worktree)}", tmp_path / "moved")
    assert trouble_of(worktree) is None


def test_a_folder_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = in_a_folder(tmp_path)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    trouble = trouble_of(project)
    assert trouble
    assert trouble.text == "the folder belongs to another user"
    with pytest.raises(InputError, match="the folder belongs to another user; run: git config --global --add safe"):
        take_snapshot(project)
    shell(trouble.way_out, tmp_path)
    assert trouble_of(project) is None


def test_git_is_not_installed(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(plain))
    with pytest.raises(InputError, match="git: is not installed, or not on PATH; install it"):
        trouble_of(plain)


def test_experiments_have_the_names_that_dvc_gives_them(plain: Path) -> None:
    from dvc.repo.experiments.refs import ExpRefInfo

    head = git_output(plain, "rev-parse", "HEAD")
    assert reference(head, "mine") == str(ExpRefInfo(head, "mine"))
    for name in (reference(head, "stash"), reference("a" * 40, "twice"), reference(head, "twice"), "refs/exps/stash"):
        commit = git_output(plain, "commit-tree", "-p", "HEAD", "-m", name, "HEAD^{tree}")
        git_output(plain, "update-ref", name, commit)
    assert sorted((each.name, each.baseline) for each in experiments(plain)) == sorted(
        [("stash", head), ("twice", "a" * 40), ("twice", head)]
    )
    assert find_experiment(plain, "twice") == git_output(plain, "rev-parse", reference(head, "twice"))
    assert find_experiment(plain, "stash") == git_output(plain, "rev-parse", reference(head, "stash"))
    assert find_experiment(plain, "apply") is None


def test_a_folder_of_a_repository(tmp_path: Path) -> None:
    project = in_a_folder(tmp_path)
    assert top_of(project) == tmp_path / "all"
    assert prefix_of(project) == "ml, [1]/darkroom #2/"
    assert text_in(project, "HEAD", "params.yaml") == "train: {lr: 0.01}\n"
    assert text_in(project, "HEAD", "README.md") is None


def changes(project: Path) -> Finding:
    return next(finding for finding in repository.check_git(project) if finding.subject == "git changes")


def test_names_of_changed_files_are_readable(tmp_path: Path) -> None:
    project = in_a_folder(tmp_path)
    (project / "src").mkdir()
    (project / "src" / "é ü.py").touch()
    assert changes(project).text.startswith("src/é ü.py not committed: results do not match the last commit")


def test_a_lock_of_the_index_that_is_left_behind(plain: Path) -> None:
    lock = plain / ".git" / "index.lock"
    lock.touch()
    assert not [finding for finding in repository.check_git(plain) if finding.subject == "git lock"], "Git may hold it"
    os.utime(lock, (time.time() - 600,) * 2)
    (found,) = [finding for finding in repository.check_git(plain) if finding.subject == "git lock"]
    assert found.mark == "fail"
    assert found.text.startswith(".git/index.lock was left by a killed Git")
    shell(found.command, plain)
    assert not lock.exists()


def test_the_bytes_of_a_file_are_kept(plain: Path) -> None:
    content = b"one\r\ntwo\rthree\n\xff\xfe\n"
    (plain / "file").write_bytes(content)
    shell("git add file && git commit -qm file", plain)
    text = text_in(plain, "HEAD", "file")
    assert text
    assert text.encode(errors="surrogateescape") == content
