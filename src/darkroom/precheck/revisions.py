"""Trainings that params.yaml names, to start from or to learn from: whether there is a folder or revision of that name."""

import os

from darkroom.base import paths
from darkroom.base.errors import InputError, nearest
from darkroom.base.git import git
from darkroom.base.params import TrainParams

LISTED_BY = "'git log --all --oneline' and 'dvc exp list -A' list all"


def check_revisions(train: TrainParams) -> None:
    """Refuse a name that is neither a path nor a revision; whether it has a model is found by the stage train.

    Raises
    ------
    InputError
        Naming the key and the nearest name.
    """
    named = {"init_from": train.init_from, "resume_from": train.resume_from}
    for key, name in {**named, "teacher.model": train.teacher and train.teacher.model}.items():
        # These accept what is not a path at all, such as one that is too long or of an unknown user.
        if name is not None and not os.path.exists(paths.ROOT / os.path.expanduser(name)):  # noqa: PTH110, PTH111
            _check(f"params.yaml: train.{key}", name)


def _check(where: str, name: str) -> None:
    commit, repository = name.partition(":")[0], paths.main_repository()
    if "\0" in name:
        raise InputError(f"{where}: {name!a} holds a control character; name another one")
    if git(repository, "rev-parse", "--git-dir").returncode:
        return  # not a repository of Git, which other checks are about
    if git(repository, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").returncode == 0:
        return
    refs = git(repository, "for-each-ref", "--format=%(refname)").stdout.splitlines()
    # refs/heads/main, refs/tags/v1, refs/exps/0b/1f…/name
    known = ["HEAD", *(ref.split("/", 4 if ref.startswith("refs/exps/") else 2)[-1] for ref in refs)]
    if commit not in known:
        shown = name if len(name) <= 200 else f"{name[:200]}…"
        hint = nearest(commit, known, LISTED_BY)
        raise InputError(f"{where}: {shown} is no folder, commit, branch, tag or experiment; {hint}")
