"""The repository that a search reads: its workspace as a commit, its experiments."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from darkroom.errors import InputError, RunError

GIT_SECONDS = 600
IDENTITY = {f"GIT_{who}_{what}": "darkroom" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Snapshot(NamedTuple):
    """The workspace as a commit: what trials start from."""

    head: str
    """The commit that the experiments will stand below."""
    commit: str
    """The same with uncommitted changes of files that Git knows."""


def take_snapshot(repository: Path) -> Snapshot:
    """Write the workspace to a commit, as `git stash create` does, but without its taking the lock of the index.

    Raises
    ------
    InputError
        If there is no commit yet.
    """
    try:
        head = git(repository, "rev-parse", "--verify", "--quiet", "HEAD")
    except RunError:
        raise InputError(
            f"{repository}: has no commit to compare trials with; run 'git add -A' and 'git commit -m first'"
        ) from None
    with _own_index(repository) as with_index:
        index = Path(git(repository, "rev-parse", "--git-path", "index"))
        with suppress(FileNotFoundError):
            shutil.copy(repository / index, with_index["GIT_INDEX_FILE"])
        git(repository, "add", "--update", env=with_index)
        return _snapshot_of(repository, git(repository, "write-tree", env=with_index), Snapshot(head, head))


def add_to_snapshot(repository: Path, snapshot: Snapshot, workspace: Path, path: str) -> Snapshot:
    """Return a snapshot with a folder as it stands in another workspace."""
    with _own_index(repository) as with_index:
        git(repository, "read-tree", snapshot.commit, env=with_index)
        git(repository, "--work-tree", str(workspace), "add", "--all", "--", f":/{path}", env=with_index)
        return _snapshot_of(repository, git(repository, "write-tree", env=with_index), snapshot)


@contextmanager
def _own_index(repository: Path) -> Iterator[dict[str, str]]:
    """Yield what makes Git use an index of its own, so that nobody's is locked or changed."""
    temporary = repository / ".dvc" / "tmp" / f"index-{os.getpid()}"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield {"GIT_INDEX_FILE": str(temporary)}
    finally:
        temporary.unlink(missing_ok=True)


def _snapshot_of(repository: Path, tree: str, before: Snapshot) -> Snapshot:
    """Return a snapshot with the files of a tree; the same one, if nothing is different."""
    if tree == git(repository, "rev-parse", f"{before.commit}^{{tree}}"):
        return before
    return Snapshot(before.head, commit_tree(repository, tree, before.head, "workspace"))


def reference(head: str, name: str) -> str:
    """Return where DVC keeps an experiment."""
    return f"refs/exps/{head[:2]}/{head[2:]}/{name}"


def find_experiment(repository: Path, name: str) -> str | None:
    """Return the commit of the experiment of that name, below whatever commit; None if there is none."""
    found = git(repository, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    return next((line.split()[0] for line in found if line.endswith(f"/{name}")), None)


def params_of(repository: Path, commit: str) -> dict[str, Any]:
    """Return params.yaml of a commit as plain mappings."""
    text = git(repository, "show", f"{commit}:params.yaml")
    content: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return content


def commit_tree(repository: Path, tree: str, parent: str, message: str) -> str:
    """Write a commit, in the user's name if Git knows it."""
    env = {} if _knows_user(repository) else IDENTITY
    return git(repository, "commit-tree", tree, "-p", parent, "-m", message, env=env)


def _knows_user(repository: Path) -> bool:
    try:
        git(repository, "var", "GIT_COMMITTER_IDENT")
    except RunError:
        return False
    return True


def git(repository: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run Git and return what it says.

    Raises
    ------
    RunError
        With what Git says, if it fails.
    """
    command = ["git", "-C", str(repository), *arguments]
    # A hook that calls this command has set where Git is at work: elsewhere.
    clean = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    environment = clean | {"LC_ALL": "C"} | dict(env or {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=GIT_SECONDS)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise RunError(f"{repository}: git {arguments[0]} failed ({said[:200]}); mend it, and run the same command again")
    return done.stdout.strip()
