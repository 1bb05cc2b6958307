"""Trainings that params.yaml names, to start from, to go on with or to learn from: their names must not come to mean others.

A branch moves, and an experiment may be made anew under its name. DVC compares the names alone, in dvc.lock and in its run cache,
and would take the result of what a name meant once for that of what it means now. A commit is always the same.
"""

import os
import re
from pathlib import Path

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import TrainParams
from darkroom.repository.git import commit_of, experiments, git

# A commit as Git writes it, or the first digits of it.
COMMIT = re.compile(r"[0-9a-f]{7,64}")


def revisions_in(train: TrainParams) -> dict[str, str]:
    """Return the names that are no files or folders, by their keys in params.yaml."""
    teacher = train.teacher.model if train.teacher else None
    named = {"train.init_from": train.init_from, "train.resume_from": train.resume_from, "train.teacher.model": teacher}
    return {key: name for key, name in named.items() if name is not None and not is_path(name)}


def is_path(name: str) -> bool:
    """Return whether there is a file or folder of this name."""
    # These accept what is not a path at all, such as one that is too long or of an unknown user.
    return os.path.exists(paths.ROOT / os.path.expanduser(name))  # noqa: PTH110, PTH111


def refuse_moving(train: TrainParams) -> None:
    """Refuse names of revisions that can come to mean another training.

    Raises
    ------
    InputError
        Naming the key, and the commit that the name means now.
    """
    for key, name in revisions_in(train).items():
        fixed = with_commit(paths.main_repository(), name)
        if fixed not in (None, name):
            raise InputError(
                f"params.yaml: {key}: {name} can come to mean another training, and DVC would not notice; "
                f"name the commit that it is now: -S {key}={fixed}"
            )


def with_commit(repository: Path, name: str) -> str | None:
    """Return the name of a revision, or `revision:folder`, with its commit in place of what can come to mean another one.

    None if there is no such revision, or there are several experiments of this name and none of them started from HEAD.
    """
    revision, colon, folder = name.partition(":")
    if "\0" in name or git(repository, "rev-parse", "--git-dir").returncode:
        return None
    commit = commit_of(repository, revision)
    if COMMIT.fullmatch(revision) and commit.startswith(revision):  # and no branch that is called so
        return name
    commit = commit or _experiment(repository, revision)
    return f"{commit}{colon}{folder}" if commit else None


def _experiment(repository: Path, name: str) -> str:
    found = [experiment for experiment in experiments(repository) if experiment.name == name]
    if len(found) > 1:
        head = commit_of(repository, "HEAD")
        found = [experiment for experiment in found if experiment.baseline == head]
    return found[0].commit if found else ""
