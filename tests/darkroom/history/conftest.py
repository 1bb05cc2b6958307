"""Fixtures: a repository in which somebody has begun to work."""

from pathlib import Path

import pytest
from hand_made import Work


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A clone of the template, without results."""
    return Work(tmp_path / "work")
