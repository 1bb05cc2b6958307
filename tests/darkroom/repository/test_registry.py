"""Registered models are found as gto and DVC know them, wherever Git puts the project, and a mistake names the nearest one."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import gto.api
import pytest
from places import at_the_top, detached, in_a_submodule, in_a_worktree, make_project, shallow
from repositories import shell

from darkroom.base.errors import InputError
from darkroom.repository.git import commit_of
from darkroom.repository.registry import find_registered

ARTIFACT = "artifacts:\n  classifier:\n    path: {}\n    type: model\n"


def in_a_plain_folder(folder: Path) -> Path:
    project = make_project(folder / "all" / "ml" / "darkroom")
    shell("git init -q && git add -A && git commit -qm start", folder / "all")
    return project


SECONDS = count(int(time.time()) - 1000)


@contextmanager
def a_second_later() -> Iterator[None]:
    """Let the clock of commits and tags go on: gto orders them by the second."""
    second = float(next(SECONDS))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "time", lambda: second)
        for name in ("AUTHOR", "COMMITTER"):
            patched.setenv(f"GIT_{name}_DATE", f"{second:.0f} +0000")
        yield


def declare(project: Path, path: str = "models") -> str:
    """Declare the artifact in a new commit, and return that."""
    text = (project / "dvc.yaml").read_text().partition("artifacts:")[0]
    (project / "dvc.yaml").write_text(text + ARTIFACT.format(path))
    with a_second_later():
        shell("git commit -qam artifact", project)
    return commit_of(project, "HEAD")


def register(project: Path, version: str, name: str = "classifier") -> None:
    with a_second_later():
        gto.api.register(str(project), name, "HEAD", version=version)


def assign(project: Path, version: str, name: str = "classifier") -> None:
    with a_second_later():
        gto.api.assign(str(project), name, "prod", version=version)


def unassign(project: Path, version: str) -> None:
    with a_second_later():
        gto.api.unassign(str(project), "classifier", version=version, stage="prod")


@pytest.fixture
def registered(plain: Path) -> tuple[Path, str, str]:
    """A project with two versions of the model, the first of them in production, and their commits."""
    first = declare(plain, "old")
    register(plain, "v1.0.0")
    second = declare(plain)
    register(plain, "v1.1.0-rc.1")
    assign(plain, "v1.0.0")
    return plain, first, second


def test_versions_and_stages_are_found(registered: tuple[Path, str, str]) -> None:
    project, first, second = registered
    for name in ("classifier@prod", "classifier#prod", "classifier@v1.0.0"):
        assert find_registered(project, name) == ("v1.0.0", first, "old")
    for name in ("classifier@latest", "classifier@v1.1.0-rc.1"):
        assert find_registered(project, name) == ("v1.1.0-rc.1", second, "models")
    assign(project, "v1.1.0-rc.1")
    assert find_registered(project, "classifier@prod") == ("v1.1.0-rc.1", second, "models")
    unassign(project, "v1.1.0-rc.1")
    assert find_registered(project, "classifier@prod") == ("v1.0.0", first, "old")  # the stage is back at the one before
    unassign(project, "v1.0.0")
    with pytest.raises(InputError, match="has neither a version nor a stage of this name"):
        find_registered(project, "classifier@prod")


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("classifier@prd", "classifier has neither a version nor a stage of this name; did you mean 'classifier@prod'?"),
        ("classifier@v1.0.1", "did you mean 'classifier@v1.0.0'?"),
        ("classifier@1.0.0", "did you mean 'classifier@v1.0.0'?"),
        ("classifier@qqq", "it has v1.1.0-rc.1, v1.0.0, prod"),
        ("clasifier@prod", "no model is registered as clasifier; did you mean 'classifier@prod'?"),
        ("zzz@prod", "no model is registered as zzz; 'gto register zzz' registers one"),
    ],
)
def test_a_mistake_names_the_nearest(registered: tuple[Path, str, str], name: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)) as raised:
        find_registered(registered[0], name)
    assert str(raised.value).startswith(f"{name}: ")


def test_other_names_are_not_asked_for(plain: Path) -> None:
    for name in (
        "main",
        "HEAD~1",
        "main@{u}",
        "HEAD^{commit}",
        "a/b.pth",
        "@",
        "a@",
        "@prod",
        "a@b@c",
        "a b@c",
        "-x@y",
        "photo.jpg",
    ):
        assert find_registered(plain, name) is None
    shell("git branch fix@home", plain)
    assert find_registered(plain, "fix@home") is None
    with pytest.raises(
        InputError, match="no model is registered here; 'gto register classifier' registers one, 'git fetch --tags'"
    ):
        find_registered(plain, "classifier@prod")


def test_a_commit_without_the_artifact_is_told(plain: Path) -> None:
    register(plain, "v1.0.0")
    with pytest.raises(InputError, match=r"classifier@v1.0.0: dvc.yaml of [0-9a-f]{7} has no artifact classifier; name a commit"):
        find_registered(plain, "classifier@v1.0.0")


@pytest.mark.sample(2)
@pytest.mark.parametrize("place", [at_the_top, in_a_plain_folder, in_a_worktree, in_a_submodule, shallow, detached])
def test_it_is_found_wherever_git_puts_the_project(place: object, tmp_path: Path) -> None:
    project: Path = place(tmp_path)  # type: ignore[operator]
    commit = declare(project)
    full = "ml/darkroom:classifier" if place is in_a_plain_folder else "classifier"
    register(project, "v1.0.0", full)
    assign(project, "v1.0.0", full)
    for name in ("classifier@prod", "classifier@v1.0.0", "classifier@latest"):
        assert find_registered(project, name) == ("v1.0.0", commit, "models")
    with pytest.raises(InputError, match=re.escape("did you mean 'classifier@prod'?")):
        find_registered(project, "clasifier@prod")
