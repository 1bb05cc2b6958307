"""What the tests of chaos share: how much of it."""

import os

import pytest


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether each driver tries all it can (CHAOS=long), which takes hours, rather than a sample."""
    return os.environ.get("CHAOS") == "long"
