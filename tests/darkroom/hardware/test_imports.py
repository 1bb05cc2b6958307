import gc
from collections.abc import Iterator

import pytest

from darkroom.hardware.imports import without_collecting


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()
    assert gc.isenabled()


def test_nothing_is_searched_while_importing_and_what_is_there_never_again() -> None:
    before = gc.get_freeze_count()
    with without_collecting():
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)
    assert not any(each is made for each in gc.get_objects())


def test_a_failed_import_leaves_the_search_on() -> None:
    with pytest.raises(ModuleNotFoundError), without_collecting():
        import no_such_module  # noqa: F401
    assert gc.isenabled()


def test_garbage_of_later_is_found() -> None:
    with without_collecting():
        pass
    gc.collect()
    loop: list[object] = []
    loop.append(loop)
    del loop
    assert gc.collect() >= 1
