"""Revisions by name, and the files that DVC recorded in each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError, described, nearest
from darkroom.base.git import git

WORKSPACE = "workspace"
LOCK = "dvc.lock"
NAME = re.compile(r"refs/(?:heads|tags|remotes)/(?P<name>.+)")
# The reference of an experiment has the commit that it started from.
EXPERIMENT = re.compile(r"refs/exps/[0-9a-f]{2}/[0-9a-f]{38}/(?P<name>.+)")


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
        Outputs that are recorded in it, or exist in the workspace.
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

    return Revision(WORKSPACE, None, frozenset(out for out in outs if (root / out).exists()), read)


def _open_recorded(root: Path, name: str) -> Revision:
    commit = _commit(root, name)
    # Imported here, after the most frequent errors: DVC takes half a second.
    from dvc.api import DVCFileSystem

    try:
        tree: Any = DVCFileSystem(str(root), rev=commit)
        is_recorded = tree.isfile(LOCK)
        outs = frozenset(out.def_path for out in tree.repo.index.outs if out.hash_info)
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
    if git(root, "rev-parse", "--git-dir").returncode:
        raise InputError(f"{name}: cannot be looked up, since this is not a Git repository; './darkroom doctor' says more")
    refs = git(root, "for-each-ref", "--format=%(refname)").stdout.splitlines()
    commit = _parsed(root, name) or _parsed(root, _experiment(root, name, refs))
    if not commit:
        raise InputError(f"{name or 'REV'}: {_unknown(name, refs)}")
    return commit


def _parsed(root: Path, name: str) -> str:
    """Return the commit of a revision, or an empty text."""
    return git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").stdout.strip()


def _experiment(root: Path, name: str, refs: list[str]) -> str:
    """Return the reference of an experiment; of several with this name the one that started from HEAD, as DVC does."""
    found = [match[0] for match in map(EXPERIMENT.fullmatch, refs) if match and match["name"] == name]
    if len(found) > 1:
        head = _parsed(root, "HEAD")
        found = [ref for ref in found if ref.startswith(f"refs/exps/{head[:2]}/{head[2:]}/")]
        if not found:
            raise InputError(f"{name}: several experiments have this name; give a commit of 'dvc exp list -A --sha-only'")
    return found[0] if found else ""


def _unknown(name: str, refs: list[str]) -> str:
    """Return the error for an unknown name, with the nearest known one and the same suffix such as `~1`."""
    base = re.split(r"[~^@]", name)[0]
    steps = name.removeprefix(base)
    known = ["HEAD", *(match["name"] for pattern in (NAME, EXPERIMENT) for ref in refs if (match := pattern.fullmatch(ref)))]
    if base in known:
        return f"is not a commit, though {base} exists; 'git log --all --oneline' lists them"
    lists = "'git log --all --oneline' and 'dvc exp list -A' list all"
    hint = nearest(base, known if steps else [WORKSPACE, *known], lists, f"'{{}}{steps}'")
    return f"is not a commit, branch, tag or experiment; {hint}"
