"""Checks of params.yaml and Git: whether results can be traced to a commit."""

import time
from collections.abc import Iterator
from pathlib import Path

from darkroom.base.errors import InputError
from darkroom.health.findings import Finding, first_of, remove_command, within
from darkroom.health.machine import EDIT_PARAMS
from darkroom.repository.git import git, git_output, git_path, prefix_of, trouble_of

# Git holds the lock of the index for moments; in a large repository, for some seconds.
LOCKED_SECONDS = 60.0


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
    if trouble := trouble_of(root):
        yield Finding("fail", "git", trouble.text, trouble.way_out)
        if git(root, "rev-parse", "--git-dir").returncode:
            return
    else:
        yield Finding("ok", "git", f"last commit: {git_output(root, 'log', '-1', '--format=%h %s').strip()[:60]}")
    yield from _left_over_lock(root)
    yield _identity(root)
    yield _changes(root)


def _left_over_lock(root: Path) -> Iterator[Finding]:
    """Find the lock of an index that no running Git can hold any more: 'git add' and 'dvc exp run' fail while it is there."""
    lock = git_path(root, "index.lock")
    try:
        seconds = time.time() - lock.stat().st_mtime
    except FileNotFoundError:
        return
    if seconds > LOCKED_SECONDS:
        text = f"{within(root, lock)} was left by a killed Git, so nothing can be committed; if no git is running"
        yield Finding("fail", "git lock", text, remove_command(root, [lock]))


def _identity(root: Path) -> Finding:
    # Without the option Git derives a name from user and host.
    found = git(root, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    if found.returncode:
        way_out = 'git config user.name "Your Name" && git config user.email you@example.com'
        return Finding("warn", "git user", "user.name or user.email is not set, so commits fail", way_out)
    return Finding("ok", "git user", found.stdout.rpartition(">")[0] + ">")


def _changes(root: Path) -> Finding:
    # Each name stands alone, whatever its characters; names are those from the top of the repository.
    entries = git(root, "status", "--porcelain", "--no-renames", "-z", "--", "src", "params.yaml").stdout.split("\0")
    names = [entry[3:].removeprefix(prefix_of(root)) for entry in entries if entry]
    if not names:
        return Finding("ok", "git changes", "src and params.yaml are committed")
    if not (root / "dvc.lock").exists():
        return Finding("ok", "git changes", f"{first_of(names)} not committed; there are no results yet")
    text = f"{first_of(names)} not committed: results do not match the last commit"
    changed = sorted({name.partition("/")[0] for name in names}, reverse=True)
    return Finding("warn", "git changes", text, f'git add {" ".join(changed)} && git commit -m "Change {" and ".join(changed)}"')
