"""Revisions by name, and the files that DVC recorded in each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError, described, nearest
from darkroom.repository.dvc import EMPTY, open_commit
from darkroom.repository.git import commit_of, experiments, git, trouble_of

WORKSPACE = "workspace"
LOCK = "dvc.lock"
NAME = re.compile(r"refs/(?:heads|tags|remotes)/(?P<name>.+)")


@dataclass(frozen=True)
class Revision:
    """One state of the repository.

    Attributes
    ----------
    name : str
        The name it was opened by.
    commit : str or None
        Its commit; None for the workspace.
    outs : frozenset of str
        Outputs that are recorded in it and not empty, or exist in the workspace.
    read : callable
        Returns the bytes of a file by its path from the root; raises `InputError` if they are not available.
    """

    name: str
    commit: str | None
    outs: frozenset[str]
    read: Callable[[str], bytes]

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:7]})" if self.commit and not self.commit.startswith(self.name) else self.name


def open_revision(root: Path, name: str, outs: tuple[str, ...]) -> Revision:
    """Open the workspace, a Git revision or an experiment; of the workspace only the outputs `outs` are looked for.

    Files that are not in DVC's cache are read from the default remote, if there is one.

    Raises
    ------
    InputError
        If there is no such revision, or DVC recorded nothing in it.
    """
    return _open_workspace(root, outs) if name == WORKSPACE else _open_recorded(root, name)


def _open_workspace(root: Path, outs: tuple[str, ...]) -> Revision:
    def read(path: str) -> bytes:
        try:
            return (root / path).read_bytes()
        except FileNotFoundError:
            raise InputError(f"{path}: does not exist; run 'dvc repro', or 'dvc checkout' if this commit has it") from None

    return Revision(WORKSPACE, None, frozenset(out for out in outs if _has_content(root / out)), read)


def _has_content(path: Path) -> bool:
    """Return whether an output is there, and not empty: so it stands where a trial was applied, of stages that it has not run."""
    return any(path.iterdir()) if path.is_dir() else path.is_file() and path.stat().st_size > 0


def _open_recorded(root: Path, name: str) -> Revision:
    commit = _commit(root, name)
    try:
        tree: Any = open_commit(root, commit)
        is_recorded = tree.isfile(LOCK)
        hashes = {out.def_path: out.hash_info.value for out in tree.repo.index.outs if out.hash_info}
        outs = frozenset(path for path, value in hashes.items() if value not in EMPTY)
    except Exception as error:  # of any kind, depending on the committed files
        raise InputError(f"{name}: DVC cannot read this revision ({described(error)}); name another one") from error
    if not is_recorded:
        raise InputError(f"{name}: has no {LOCK}, so nothing is recorded in it; name one committed after 'dvc repro'")

    def read(path: str) -> bytes:
        try:
            content: bytes = tree.cat_file(path)
        except Exception as error:  # remotes have no common error
            why = "" if isinstance(error, FileNotFoundError) else f" ({described(error)})"
            out = path.rpartition("/")[0]
            raise InputError(
                f"{path}: the version of {name} is neither in DVC's cache nor on the default remote{why}; "
                f"run 'dvc push' where it was made, then 'dvc fetch --all-commits {out}' here"
            ) from None
        return content

    return Revision(name, commit, outs, read)


def _commit(root: Path, name: str) -> str:
    """Return the commit of a revision or experiment."""
    commit = commit_of(root, name) or _experiment(root, name)
    if not commit:
        if trouble := trouble_of(root):
            raise InputError(f"{name or 'REV'}: cannot be looked up ({trouble.text}); run: {trouble.way_out}")
        raise InputError(f"{name or 'REV'}: {_unknown(root, name)}")
    return commit


def _experiment(root: Path, name: str) -> str:
    """Return the commit of an experiment; of several with this name the one that started from HEAD, as DVC does."""
    if git(root, "rev-parse", "--git-dir").returncode:
        return ""
    found = [experiment for experiment in experiments(root) if experiment.name == name]
    if len(found) > 1:
        head = commit_of(root, "HEAD")
        found = [experiment for experiment in found if experiment.baseline == head]
        if not found:
            raise InputError(f"{name}: several experiments have this name; give a commit of 'dvc exp list -A --sha-only'")
    return found[0].commit if found else ""


def _unknown(root: Path, name: str) -> str:
    """Return the error for an unknown name, with the nearest known one and the same suffix such as `~1`."""
    base = re.split(r"[~^@]", name)[0]
    steps = name.removeprefix(base)
    refs = git(root, "for-each-ref", "--format=%(refname)").stdout.splitlines()
    known = ["HEAD", *(match["name"] for ref in refs if (match := NAME.fullmatch(ref)))]
    known += [experiment.name for experiment in experiments(root)]
    if base in known:
        return f"is not a commit, though {base} exists; 'git log --all --oneline' lists them"
    lists = "'git log --all --oneline' and 'dvc exp list -A' list all"
    hint = nearest(base, known if steps else [WORKSPACE, *known], lists, f"'{{}}{steps}'")
    return f"is not a commit, branch, tag or experiment; {hint}"
