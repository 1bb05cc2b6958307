import gc
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from darkroom.hardware.imports import without_collecting


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()
    assert gc.isenabled()


@pytest.fixture
def before_torch(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Take torch out of the modules, and return it."""
    torch = sys.modules.get("torch", ModuleType("torch"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.delitem(sys.modules, "torch")
    return torch


def test_nothing_is_searched_while_torch_is_imported_and_what_is_there_never_again(before_torch: ModuleType) -> None:
    before = gc.get_freeze_count()
    with without_collecting():
        assert not gc.isenabled()
        sys.modules["torch"] = before_torch
        made = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)
    assert not any(each is made for each in gc.get_objects())


def test_a_network_that_is_there_is_found_once_nothing_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys.modules.get("torch", ModuleType("torch")))
    gc.collect()
    network: list[object] = []
    network.append(network)
    with without_collecting():
        assert not gc.isenabled()
    del network
    assert gc.collect() >= 1


def test_a_failed_import_leaves_the_search_on() -> None:
    with pytest.raises(ModuleNotFoundError), without_collecting():
        import no_such_module  # noqa: F401
    assert gc.isenabled()
