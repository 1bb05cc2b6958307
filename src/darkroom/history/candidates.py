"""Which states of the project may have results: the workspace, commits that changed dvc.lock, all experiments.

The template has no dvc.lock, so that a commit which changes it is one of this work, whether the template's own history was kept,
squashed or cut off. What is older than a commit that removes dvc.lock is of another work.
"""

from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

from darkroom.base.errors import InputError
from darkroom.repository.git import Experiment, commit_of, experiments, git, trouble_of

LOCK = "dvc.lock"
HEAD = "HEAD"
WORKSPACE = "workspace"


class Candidate(NamedTuple):
    """A state of the project that may have results."""

    kind: Literal["workspace", "commit", "experiment"]
    name: str
    """Of a commit: HEAD, a tag or a branch, else its first seven digits."""
    commit: str = ""
    """Empty for the workspace."""
    baseline: str = ""
    """The commit that an experiment started from."""
    experiment: str = ""
    """The name by which DVC knows an experiment; several may have it."""


def find_candidates(root: Path, *, all_branches: bool = False) -> list[Candidate]:
    """Return the workspace, HEAD, commits of this branch (or of all) that changed dvc.lock, newest first, and all experiments.

    Raises
    ------
    InputError
        If the folder is in no Git repository.
    """
    found = [Candidate("workspace", WORKSPACE)]
    head = commit_of(root, HEAD)
    if not head:
        trouble = trouble_of(root)
        if git(root, "rev-parse", "--git-dir").returncode or (trouble and "damaged" in trouble.text):
            assert trouble
            raise InputError(f"{root}: {trouble.text}; run: {trouble.way_out}")
    else:
        names = _names(root)
        found.append(Candidate("commit", HEAD, head))
        found += [
            Candidate("commit", names.get(commit, commit[:7]), commit)
            for commit in _locked_commits(root, all_branches)
            if commit != head
        ]
    tried = experiments(root)
    times = Counter(each.name for each in tried)
    return found + [
        Candidate("experiment", _told_apart(each, times[each.name]), each.commit, each.baseline, each.name) for each in tried
    ]


def _told_apart(experiment: Experiment, times: int) -> str:
    """Return the name of an experiment, with its commit, which DVC takes as well, if others have the same name."""
    return experiment.name if times == 1 else f"{experiment.name}@{experiment.commit[:7]}"


def _locked_commits(root: Path, all_branches: bool) -> list[str]:
    """Return the commits that changed dvc.lock, newest first; of a damaged history those that Git still reaches."""
    tips = ["--branches", HEAD] if all_branches else [HEAD]
    # --full-history: results of a merged branch are shown, too.
    command = ("log", "--full-history", "--format=%H", *tips)
    # -m: also by a merge.
    removed = git(root, *command, "-m", "--diff-filter=D", "--", LOCK).stdout.split()
    return git(root, *command, *(f"^{commit}" for commit in removed), "--", LOCK).stdout.split()


def _names(root: Path) -> dict[str, str]:
    """Return the tag, or else the branch, that names a commit."""
    names: dict[str, str] = {}
    for kind in ("heads", "tags"):
        lines = git(root, "for-each-ref", "--format=%(objectname) %(*objectname) %(refname)", f"refs/{kind}").stdout.splitlines()
        for line in lines:
            commit, peeled, reference = line.split(" ", 2)
            names[peeled or commit] = reference.removeprefix(f"refs/{kind}/")
    return names
