"""What the tests of chaos share: how much of it, and where faults and crashes are tried."""

import os
from collections.abc import Iterator

import pytest
from chaos.workplace import Workplace


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether each driver tries all it can (CHAOS=long), which takes hours, rather than a sample."""
    return os.environ.get("CHAOS") == "long"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    made = Workplace(tmp_path_factory.mktemp("faults"))
    yield made
    made.forked.close()
