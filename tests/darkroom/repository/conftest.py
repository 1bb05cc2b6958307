"""Fixtures: a small project of DVC in every place where Git may put it."""

from pathlib import Path

import pytest
from places import PLACES, add_cache, at_the_top


@pytest.fixture(autouse=True)
def _identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@localhost")


@pytest.fixture(params=PLACES, ids=lambda place: place.__name__)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A project with a commit and a recorded model in its cache."""
    found: Path = request.param(tmp_path)
    add_cache(found / ".dvc" / "cache")
    return found


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A project at the top of its repository."""
    return at_the_top(tmp_path)
