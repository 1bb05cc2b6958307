"""Git, asked in a folder: where that lies in its repository, what a commit holds, which experiments there are, what is wrong.

The folder may be the top of a repository or one of its folders, a linked worktree or a submodule.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from darkroom.base.errors import InputError, RunError
from darkroom.base.paths import SET_BY_HOOKS

SECONDS = 30
# To copy the objects of a large repository takes longer.
WRITING_SECONDS = 600
# Settings of a user that would change what is read here, or run programs of theirs while it is.
SETTINGS = ("core.quotePath=false", f"core.hooksPath={os.devnull}", "log.showSignature=false")
# The reference of an experiment, as DVC names it, has the commit that it started from.
EXPERIMENT = re.compile(r"refs/exps/(?P<first>[0-9a-f]{2})/(?P<rest>[0-9a-f]{38,62})/(?P<name>[^/]+)")


def git(
    root: Path, *arguments: str, env: Mapping[str, str] | None = None, seconds: float = SECONDS, given: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run Git in a folder; it takes no lock that it can do without. Bytes that are no UTF-8 become surrogates, as in paths.

    It reads `given` from its standard input.

    Raises
    ------
    InputError
        If Git is not installed.
    RunError
        If it takes too long.
    """
    kept = {name: value for name, value in os.environ.items() if name not in SET_BY_HOOKS}
    environment = kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"} | dict(env or {})
    command = ["git", *(part for setting in SETTINGS for part in ("-c", setting)), *arguments]
    try:
        data = given.encode("utf-8", "surrogateescape")
        done = subprocess.run(command, cwd=root, env=environment, input=data, capture_output=True, timeout=seconds)
    except FileNotFoundError as error:
        if error.filename != "git":
            raise
        raise InputError("git: is not installed, or not on PATH; install it") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{root}: git {arguments[0]} took more than {seconds:.0f} s; run the same command again") from None
    # Without translating line breaks, so that a file or a patch can be encoded to the same bytes again.
    output, errors = (stream.decode("utf-8", "surrogateescape") for stream in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(command, done.returncode, output, errors)


def git_output(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run Git in a folder and return what it prints, without the last line break.

    Raises
    ------
    RunError
        With Git's message, if it fails.
    """
    done = git(root, *arguments, env=env, seconds=WRITING_SECONDS)
    if done.returncode:
        message = " ".join(done.stderr.split()) or f"status {done.returncode}"
        raise RunError(f"{root}: git {arguments[0]} failed ({message[:200]}); fix it, and run the same command again")
    return done.stdout.removesuffix("\n")


def git_path(root: Path, name: str) -> Path:
    """Return the path of a file that Git keeps, such as `index`; linked worktrees and submodules have theirs elsewhere."""
    return root / git_output(root, "rev-parse", "--git-path", name)


def top_of(root: Path) -> Path:
    """Return the top of the work tree that a folder lies in."""
    return Path(git_output(root, "rev-parse", "--show-toplevel"))


def prefix_of(root: Path) -> str:
    """Return the path of a folder in its work tree: `ml/darkroom/`; empty at the top, and without a repository."""
    return git(root, "rev-parse", "--show-prefix").stdout.removesuffix("\n")


def text_in(root: Path, commit: str, path: str) -> str | None:
    """Return a file of a commit by its path from the folder; None if it is not there."""
    done = git(root, "show", f"{commit}:./{path}")
    return None if done.returncode else done.stdout


def commit_of(root: Path, revision: str) -> str:
    """Return the commit of a revision, or an empty text."""
    return git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").stdout.strip()


class Experiment(NamedTuple):
    """An experiment of DVC."""

    name: str
    baseline: str
    """The commit that it started from."""
    commit: str


def reference(baseline: str, name: str) -> str:
    """Return the reference of an experiment, as DVC names it."""
    return f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}"


def experiments(root: Path) -> list[Experiment]:
    """Return the experiments of all commits."""
    lines = git_output(root, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps").splitlines()
    found = [(commit, EXPERIMENT.fullmatch(name)) for commit, _, name in (line.partition(" ") for line in lines)]
    return [Experiment(match["name"], match["first"] + match["rest"], commit) for commit, match in found if match]


class Trouble(NamedTuple):
    """Why Git cannot name the last commit."""

    text: str
    way_out: str
    """A command."""


def trouble_of(root: Path) -> Trouble | None:
    """Return why Git cannot name the last commit of a folder's repository; None if it can."""
    if commit_of(root, "HEAD"):
        return None
    asked = git(root, "rev-parse", "--git-dir")
    if asked.returncode:
        return _without_repository(root, asked.stderr)
    # Git does not say which branch it is if that is damaged.
    head = git_path(root, "HEAD").read_text(encoding="utf-8", errors="surrogateescape")
    branch = head.removeprefix("ref: ").strip()
    if branch == head.strip():
        return Trouble("HEAD names a commit that does not exist", "git fsck && git reflog")
    file = git_path(root, branch)
    if not file.is_file() and not git(root, "for-each-ref", branch).stdout:
        return Trouble("no commit yet, and experiments need one", 'git add -A && git commit -m "Start"')
    shown = branch.removeprefix("refs/heads/")
    known = _last_commit(git_path(root, "logs/HEAD"))
    if known and commit_of(root, known):
        way_out = f"rm -f {quoted(file)} && git update-ref {quoted(branch)} {known}"
        return Trouble(f"the branch {shown} is damaged; it was at {known[:7]}", way_out)
    return Trouble(f"the branch {shown} is damaged", "git fsck && git reflog")


def _without_repository(root: Path, message: str) -> Trouble:
    if "dubious ownership" in message:
        # Git names the folder, which may be one above, and quotes it for the shell.
        suggested = re.search(r"git config --global --add safe\.directory .+", message)
        way_out = suggested[0].strip() if suggested else f"git config --global --add safe.directory {quoted(root)}"
        return Trouble("the folder belongs to another user", way_out)
    place = next((folder / ".git" for folder in (root, *root.parents) if os.path.lexists(folder / ".git")), None)
    if place is None:
        return Trouble("not a Git repository", 'git init && git add -A && git commit -m "Start"')
    if place.is_dir():
        heads = sorted((place / "refs" / "heads").rglob("*"), key=lambda path: path.stat().st_mtime)
        branches = [path.relative_to(place).as_posix() for path in heads if path.is_file()] or ["refs/heads/main"]
        text = f"{place / 'HEAD'} is damaged or missing"
        return Trouble(text, f"echo 'ref: {branches[-1]}' > {quoted(place / 'HEAD')}")
    reason = " ".join(message.split())[:200]
    return Trouble(f"{place} leads to no repository ({reason})", "git worktree repair   # in the repository that it belongs to")


def _last_commit(log: Path) -> str:
    """Return the last commit in a log of references, or an empty text."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    parts = lines[-1].split(" ") if lines else []
    return parts[1] if len(parts) > 1 else ""


def quoted(text: str | Path) -> str:
    """Return a text as one word of a shell."""
    return shlex.quote(str(text))
