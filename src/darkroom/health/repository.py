"""Checks of params.yaml and Git: whether results can be traced to a commit."""

from collections.abc import Iterator
from pathlib import Path

from darkroom.base.errors import InputError
from darkroom.base.git import git
from darkroom.health.findings import Finding, first_of
from darkroom.health.machine import EDIT_PARAMS


def check_params(root: Path) -> Iterator[Finding]:
    """Check that params.yaml is valid."""
    from darkroom.base.params_file import load_params

    path = root / "params.yaml"
    if not path.exists():
        yield Finding("fail", "params.yaml", "does not exist", "git checkout HEAD -- params.yaml")
        return
    try:
        load_params(path)
    except InputError as error:
        yield Finding("fail", "params.yaml", str(error), EDIT_PARAMS)
    else:
        yield Finding("ok", "params.yaml", "valid")


def check_git(root: Path) -> Iterator[Finding]:
    """Check that there is a Git repository with a commit and a user, and whether src and params.yaml are committed."""
    where = git(root, "rev-parse", "--show-toplevel")
    if "dubious ownership" in where.stderr:
        yield Finding("fail", "git", "the folder belongs to another user", f"git config --global --add safe.directory '{root}'")
        return
    if where.returncode:
        yield Finding("fail", "git", "not a Git repository", 'git init && git add -A && git commit -m "Start"')
        return
    head = git(root, "log", "-1", "--format=%h %s")
    if head.returncode:
        yield Finding("fail", "git", "no commit yet; experiments need one", 'git add -A && git commit -m "Start"')
    else:
        yield Finding("ok", "git", f"last commit: {head.stdout.strip()[:60]}")
    yield _identity(root)
    yield _changes(root)


def _identity(root: Path) -> Finding:
    # Without the option Git derives a name from user and host.
    found = git(root, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    if found.returncode:
        way_out = 'git config user.name "Your Name" && git config user.email you@example.com'
        return Finding("warn", "git user", "user.name or user.email is not set, so commits fail", way_out)
    return Finding("ok", "git user", found.stdout.rpartition(">")[0] + ">")


def _changes(root: Path) -> Finding:
    lines = git(root, "status", "--porcelain", "--", "src", "params.yaml").stdout.splitlines()
    if not lines:
        return Finding("ok", "git changes", "src and params.yaml are committed")
    names = [line[3:] for line in lines]
    if not (root / "dvc.lock").exists():
        return Finding("ok", "git changes", f"{first_of(names)} not committed; there are no results yet")
    text = f"{first_of(names)} not committed: results do not match the last commit"
    return Finding("warn", "git changes", text, 'git add src params.yaml && git commit -m "Change src and params.yaml"')
