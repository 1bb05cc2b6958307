"""What searches read from the repository and add to it: its workspace as a commit, its experiments."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from darkroom.base.errors import InputError, RunError
from darkroom.base.git import git, git_output
from darkroom.base.renamed import with_current_names

IDENTITY = {f"GIT_{who}_{what}": "darkroom" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Snapshot(NamedTuple):
    """The workspace as a commit, which trials start from."""

    head: str
    """The commit that the experiments belong to."""
    commit: str
    """The same with the uncommitted changes of tracked files."""


def take_snapshot(repository: Path) -> Snapshot:
    """Write the workspace to a commit, as `git stash create` does, but without locking the index.

    Raises
    ------
    InputError
        If there is no commit yet.
    """
    try:
        head = git_output(repository, "rev-parse", "--verify", "--quiet", "HEAD")
    except RunError:
        raise InputError(
            f"{repository}: has no commit that trials could start from; run 'git add -A' and 'git commit -m first'"
        ) from None
    with _temporary_index(repository) as with_index:
        index = Path(git_output(repository, "rev-parse", "--git-path", "index"))
        with suppress(FileNotFoundError):
            shutil.copy(repository / index, with_index["GIT_INDEX_FILE"])
        git_output(repository, "add", "--update", env=with_index)
        return _snapshot_of(repository, git_output(repository, "write-tree", env=with_index), Snapshot(head, head))


def add_to_snapshot(repository: Path, snapshot: Snapshot, workspace: Path, path: str) -> Snapshot:
    """Return a snapshot with a folder of another workspace added."""
    with _temporary_index(repository) as with_index:
        git_output(repository, "read-tree", snapshot.commit, env=with_index)
        git_output(repository, "--work-tree", str(workspace), "add", "--all", "--", f":/{path}", env=with_index)
        return _snapshot_of(repository, git_output(repository, "write-tree", env=with_index), snapshot)


@contextmanager
def _temporary_index(repository: Path) -> Iterator[dict[str, str]]:
    """Yield the environment variable that makes Git use a temporary index: the user's is neither locked nor changed."""
    temporary = repository / ".dvc" / "tmp" / f"index-{os.getpid()}"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield {"GIT_INDEX_FILE": str(temporary)}
    finally:
        temporary.unlink(missing_ok=True)


def _snapshot_of(repository: Path, tree: str, before: Snapshot) -> Snapshot:
    """Return a snapshot with the files of a tree; the old one if nothing differs."""
    if tree == git_output(repository, "rev-parse", f"{before.commit}^{{tree}}"):
        return before
    return Snapshot(before.head, commit_tree(repository, tree, before.head, "workspace"))


def reference(head: str, name: str) -> str:
    """Return the Git reference of an experiment, as DVC names it."""
    return f"refs/exps/{head[:2]}/{head[2:]}/{name}"


def find_experiment(repository: Path, name: str) -> str | None:
    """Return the commit of an experiment by its name, whichever commit it started from; None if there is none."""
    found = git_output(repository, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    return next((line.split()[0] for line in found if line.endswith(f"/{name}")), None)


def params_of(repository: Path, commit: str) -> dict[str, Any]:
    """Return the content of params.yaml in a commit, as plain mappings, with today's names of keys and classes."""
    text = git_output(repository, "show", f"{commit}:params.yaml")
    return with_current_names(YAML(typ="safe", pure=True).load(text))


def commit_tree(repository: Path, tree: str, parent: str, message: str) -> str:
    """Write a commit, in the user's name if Git knows it, and return its hash."""
    knows_user = git(repository, "var", "GIT_COMMITTER_IDENT").returncode == 0
    env = {} if knows_user else IDENTITY
    return git_output(repository, "commit-tree", tree, "-p", parent, "-m", message, env=env)
