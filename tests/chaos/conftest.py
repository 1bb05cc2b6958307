"""What the tests of chaos share: how much of it."""

import os

import pytest


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether to try everything (CHAOS=long), which takes an hour, rather than the samples that CI takes."""
    return os.environ.get("CHAOS") == "long"
