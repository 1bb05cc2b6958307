"""What searches read from the repository and add to it: its workspace as a commit, its experiments."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from darkroom.base.errors import InputError, RunError
from darkroom.base.renamed import with_current_names
from darkroom.base.yaml_file import parse_yaml
from darkroom.repository.git import commit_of, experiments, git, git_output, git_path, text_in, trouble_of

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
        If Git knows no last commit.
    """
    if trouble := trouble_of(repository):
        raise InputError(f"{repository}: {trouble.text}; run: {trouble.way_out}")
    head = commit_of(repository, "HEAD")
    with _temporary_index(repository) as with_index:
        with suppress(FileNotFoundError):
            # With its time: Git compares what was edited at the moment when the index was written.
            shutil.copy2(git_path(repository, "index"), with_index["GIT_INDEX_FILE"])
        git_output(repository, "add", "--update", env=with_index)
        tree = git_output(repository, "write-tree", env=with_index)
    if tree == git_output(repository, "rev-parse", f"{head}^{{tree}}"):
        return Snapshot(head, head)
    return Snapshot(head, commit_tree(repository, tree, head, "workspace"))


@contextmanager
def _temporary_index(repository: Path) -> Iterator[dict[str, str]]:
    """Yield the environment variable that makes Git use a temporary index: the user's is neither locked nor changed."""
    temporary = repository / ".dvc" / "tmp" / f"index-{os.getpid()}"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield {"GIT_INDEX_FILE": str(temporary)}
    finally:
        temporary.unlink(missing_ok=True)


def find_experiment(repository: Path, name: str) -> str | None:
    """Return the commit of an experiment by its name, of several the one that started from HEAD; None if there is none."""
    found = [experiment for experiment in experiments(repository) if experiment.name == name]
    head = commit_of(repository, "HEAD") if len(found) > 1 else ""
    found.sort(key=lambda experiment: experiment.baseline != head)
    return found[0].commit if found else None


def params_of(repository: Path, commit: str) -> dict[str, Any]:
    """Return the content of params.yaml in a commit, as plain mappings, with today's names of keys and classes."""
    return with_current_names(parse_yaml(file_in(repository, commit, "params.yaml")))


def file_in(repository: Path, commit: str, path: str) -> str:
    """Return a file that every commit of the project has.

    Raises
    ------
    RunError
        If this one does not.
    """
    text = text_in(repository, commit, path)
    if text is None:
        raise RunError(f"{path}: is not in {commit[:7]}, which is no version of this project; name another one")
    return text


def commit_tree(repository: Path, tree: str, parent: str, message: str) -> str:
    """Write a commit, in the user's name if Git knows it, and return its hash."""
    knows_user = git(repository, "var", "GIT_COMMITTER_IDENT").returncode == 0
    env = {} if knows_user else IDENTITY
    return git_output(repository, "commit-tree", tree, "-p", parent, "-m", message, env=env)
