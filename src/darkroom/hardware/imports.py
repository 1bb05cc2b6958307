"""Importing libraries without what they import at their top and hardly ever use: that is imported once it is used."""

import builtins
import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

COMPILER = "torch._dynamo"


@contextmanager
def without_collecting() -> Iterator[None]:
    """Import without the search for objects that nothing uses: an import makes hundreds of thousands, and nearly all stay.

    What is there when torch has been imported is never searched later: https://docs.python.org/3/library/gc.html#gc.freeze. Only
    then, since a process that had torch before can hold networks, which would stay as well.
    """
    is_first = "torch" not in sys.modules
    gc.disable()
    try:
        yield
    finally:
        if is_first and "torch" in sys.modules:
            gc.freeze()
        gc.enable()


class Later(ModuleType):
    """A module that is imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


class _ClassLater(type):
    """Makes classes that stand for one of a module that may not be imported yet: nothing is an instance of it until then."""

    place: tuple[str, str]

    def __instancecheck__(cls, instance: object) -> bool:
        module, name = cls.place
        made: Any = getattr(sys.modules.get(module), name, ())
        return isinstance(instance, made)


def class_of(module: str, name: str) -> SimpleNamespace:
    """Return what `from module import name` finds: a class for `isinstance` that imports nothing."""
    return SimpleNamespace(**{name: _ClassLater(name, (), {"place": (module, name)})})


def function_of(module: str, name: str) -> SimpleNamespace:
    """Return what `from module import name` finds: a function that imports the module when it is called."""

    def call(*arguments: Any, **named: Any) -> Any:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
        return function(*arguments, **named)

    return SimpleNamespace(**{name: call})


@contextmanager
def in_place(found: Mapping[tuple[str, str], Any]) -> Iterator[None]:
    """Give some modules something else than what they import, and all others what they import.

    Parameters
    ----------
    found
        By the names of the importing and of the imported module.
    """
    original = builtins.__import__

    def find(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        place = (globals or {}).get("__name__", ""), name
        return found[place] if place in found else original(name, globals, locals, fromlist, level)

    builtins.__import__ = find
    try:
        yield
    finally:
        builtins.__import__ = original
