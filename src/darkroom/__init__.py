"""Darkroom: what the stage scripts of `src/` are made of; from Python, `from darkroom import Model, train`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.api import Model, train

__all__ = ["Model", "train"]


def __getattr__(name: str) -> Any:
    # Stages read this file without depending on it: a test holds that it imports from `api` alone, and that no stage calls it.
    if name in __all__:
        from darkroom import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
