"""Darkroom from Python: `from darkroom.api import train`; docs/api.md shows it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.api.training import TrainedModel, train
    from darkroom.sources.own.datasets import LabelledImages

__all__ = ["LabelledImages", "TrainedModel", "train"]
# Imported when asked for, since commands open models through this package, and most of them answer without torch.
PLACES = {
    "LabelledImages": "darkroom.sources.own.datasets",
    "TrainedModel": "darkroom.api.training",
    "train": "darkroom.api.training",
}


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(PLACES[name]), name)
