"""What tests share: the repository's own params.yaml, shrunk and changed, and the src/ of this checkout on the path."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.params import Params, check_params, read_yaml

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def content() -> dict[str, Any]:
    """A fresh copy of the repository's params.yaml, as plain mappings."""
    return copy.deepcopy(read_yaml(ROOT / "params.yaml"))


@pytest.fixture
def make_params(content: dict[str, Any]) -> Callable[..., Params]:
    """Return the repository's parameters with some dotted keys changed: `make_params({"train.lr": 0.1})`."""

    def make(changes: dict[str, Any] | None = None) -> Params:
        for key, value in (changes or {}).items():
            *sections, last = key.split(".")
            place = content
            for section in sections:
                place = place[section]
            place[last] = value
        return check_params(content)

    return make
