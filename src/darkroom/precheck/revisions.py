"""Trainings that params.yaml names, to start from or to learn from: whether there is a folder or revision of that name."""

from darkroom.base import paths
from darkroom.base.errors import InputError, nearest
from darkroom.base.params import TrainParams
from darkroom.repository.git import experiments, git
from darkroom.repository.origins import refuse_moving, revisions_in

LISTED_BY = "'git log --all --oneline' and 'dvc exp list -A' list all"


def check_revisions(train: TrainParams) -> None:
    """Refuse a name that is neither a path nor a revision, or can come to mean another one; train finds whether it has a model.

    Raises
    ------
    InputError
        Naming the key and the nearest name, or the commit.
    """
    for key, name in revisions_in(train).items():
        _check(f"params.yaml: {key}", name)
    refuse_moving(train)


def _check(where: str, name: str) -> None:
    commit, repository = name.partition(":")[0], paths.main_repository()
    if "\0" in name:
        raise InputError(f"{where}: {name!a} holds a control character; name another one")
    if git(repository, "rev-parse", "--git-dir").returncode:
        return  # not a repository of Git, which other checks are about
    if git(repository, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}").returncode == 0:
        return
    refs = git(repository, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/tags").stdout.splitlines()
    known = ["HEAD", *(ref.split("/", 2)[-1] for ref in refs), *(experiment.name for experiment in experiments(repository))]
    if commit not in known:
        shown = name if len(name) <= 200 else f"{name[:200]}…"
        hint = nearest(commit, known, LISTED_BY)
        raise InputError(f"{where}: {shown} is no folder, commit, branch, tag or experiment; {hint}")
