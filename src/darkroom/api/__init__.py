"""Darkroom from Python: `from darkroom import Model, train`; docs/api.md shows it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkroom.api.model import Model, Prediction
    from darkroom.api.training import TrainedModel, train
    from darkroom.sources.own.datasets import LabelledImages

__all__ = ["LabelledImages", "Model", "Prediction", "TrainedModel", "train"]
# Imported when asked for, since commands open models through this package, and most of them answer without torch.
PLACES = {
    "LabelledImages": "darkroom.sources.own.datasets",
    "Model": "darkroom.api.model",
    "Prediction": "darkroom.api.model",
    "TrainedModel": "darkroom.api.training",
    "train": "darkroom.api.training",
}


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(PLACES[name]), name)
