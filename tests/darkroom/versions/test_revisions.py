"""Names of revisions that Git and DVC know, and suggestions for others."""

from pathlib import Path

import pytest
from repositories import git

from darkroom.base.errors import InputError
from darkroom.versions.revisions import Revision, _commit, open_revision

BASELINES = ("a" * 40, "b" * 40)


def experiment(root: Path, baseline: str, name: str) -> str:
    """Make an experiment as DVC does: a commit of its own under its baseline's name."""
    commit = git(root, "commit-tree", "-p", "HEAD", "-m", f"{name} of {baseline}", "HEAD^{tree}")
    git(root, "update-ref", f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}", commit)
    return commit


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits on `main`, a tag `v1.0` and a branch `new-classes`, nothing of DVC."""
    folder = tmp_path_factory.mktemp("repository")
    git(folder, "init", "-qb", "main")
    for message in ("first", "second"):
        git(folder, "commit", "-q", "--allow-empty", "-m", message)
    git(folder, "tag", "-a", "v1.0", "-m", "tag", "HEAD~1")
    git(folder, "branch", "new-classes", "HEAD~1")
    for baseline in BASELINES:
        experiment(folder, baseline, "twice")
    return folder


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("HEAD", "HEAD"),
        ("main", "HEAD"),
        ("main~1", "HEAD~1"),
        ("v1.0", "HEAD~1"),
        ("new-classes", "HEAD~1"),
        ("HEAD@{1}", "HEAD~1"),
    ],
)
def test_names_that_git_knows(root: Path, name: str, same: str) -> None:
    assert _commit(root, name) == git(root, "rev-parse", same)
    assert _commit(root, git(root, "rev-parse", "--short", name + "^{commit}")) == git(root, "rev-parse", same)


def test_experiments(root: Path) -> None:
    commit = experiment(root, BASELINES[0], "once")
    assert _commit(root, "once") == commit
    with pytest.raises(InputError, match=r"^twice: several experiments have this name; give a commit of 'dvc exp list"):
        _commit(root, "twice")
    commit = experiment(root, git(root, "rev-parse", "HEAD"), "twice")
    assert _commit(root, "twice") == commit, "the one that started from the last commit, as DVC has it"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mian", "mian: is not a commit, branch, tag or experiment; did you mean 'main'?"),
        ("HAED~2", "HAED~2: is not a commit, branch, tag or experiment; did you mean 'HEAD~2'?"),
        ("workspase", "workspase: is not a commit, branch, tag or experiment; did you mean 'workspace'?"),
        ("twise", "twise: is not a commit, branch, tag or experiment; did you mean 'twice'?"),
        ("newclasses", "newclasses: is not a commit, branch, tag or experiment; did you mean 'new-classes'?"),
        ("HEAD~9", "HEAD~9: is not a commit, though HEAD exists; 'git log --all --oneline' lists them"),
        ("HEAD^{tree}", "HEAD^{tree}: is not a commit, though HEAD exists; 'git log --all --oneline' lists them"),
        ("", "REV: is not a commit, branch, tag or experiment; 'git log --all --oneline' and 'dvc exp list -A' list all"),
        (
            "0123456789",
            "0123456789: is not a commit, branch, tag or experiment; 'git log --all --oneline' and 'dvc exp list -A' list",
        ),
        ("-x", "-x: is not a commit, branch, tag or experiment; "),
    ],
)
def test_unknown_names(root: Path, name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        open_revision(root, name, ())
    assert str(error.value).startswith(message)


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match=r"main: cannot be looked up \(not a Git repository\); run: git init "):
        open_revision(tmp_path, "main", ())


def test_the_workspace_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "data" / "raw").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "x").write_bytes(b"content")
    found = open_revision(tmp_path, "workspace", ("data/raw", "data/split"))
    assert (str(found), found.commit, found.outs) == ("workspace", None, {"data/raw"})
    assert found.read("data/raw/x") == b"content"
    with pytest.raises(InputError, match=r"^data/raw/y: does not exist; run 'dvc repro', or 'dvc checkout'"):
        found.read("data/raw/y")


def test_what_stands_for_results_that_a_trial_has_not_is_none_in_the_workspace_either(tmp_path: Path) -> None:
    (tmp_path / "metrics" / "evaluate").mkdir(parents=True)
    (tmp_path / "metrics" / "predictions.parquet").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.json").write_text("{}")
    outs = ("metrics/evaluate", "metrics/predictions.parquet", "models/model.json", "models")
    assert open_revision(tmp_path, "workspace", outs).outs == {"models/model.json", "models"}


def test_a_commit_is_shown_with_its_name_once() -> None:
    assert str(Revision("main", "1234567890", frozenset(), lambda _: b"")) == "main (1234567)"
    assert str(Revision("12345", "1234567890", frozenset(), lambda _: b"")) == "12345"
